# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A table of all instances: the split of each, its numbers, and its solve record."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

import numpy as np

from kryloset.dataset.description import read_quantity
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.reader import Dataset

type Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its name.
        description: What it holds.
        kind: Type of its values.
        values: A value for each instance, in the drawn order.
    """

    name: str
    description: str
    kind: Kind
    values: Sequence[Any]


def read_columns(data: Dataset) -> list[Column]:
    """Return the columns of the table of a dataset.

    They are the instance and its split, the parameters that are numbers, and the solve record.
    """
    count = len(data)
    splits = np.empty(count, object)
    for name, instances in data.splits().items():
        splits[instances] = name
    columns = [
        Column("instance", "number of the instance, as drawn", "integer", data.numbers.tolist()),
        Column("split", "split of the instance", "text", splits.tolist()),
    ]
    for name in data.parameters:
        array = data.array(name)
        if array.ndim == 1 and len(array) == count:
            text = "{} [{}]".format(*read_quantity(data, name))
            columns.append(Column(name, text, "number", array[:].tolist()))
    for name, values in data.solver().items():
        dtype, text = SOLVER[name]
        columns.append(
            Column(name, text, "integer" if dtype.kind == "i" else "number", values.tolist())
        )
    return columns


def write_table(columns: Sequence[Column]) -> str:
    """Return the table as comma-separated values."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(zip(*(column.values for column in columns), strict=True))
    return text.getvalue()
