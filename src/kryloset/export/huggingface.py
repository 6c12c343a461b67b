# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parquet files for the library `datasets` of Hugging Face."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from kryloset.dataset.card import write_card
from kryloset.export.base import Format
from kryloset.export.selection import GridView, Selection
from kryloset.problems.checks.coverage import INSIDE

_LOAD = (
    "`datasets.load_dataset(FOLDER)` returns the splits. A row is an instance, and a column a "
    "parameter or a field of the solution."
)

#: Bytes of a row group, which a reader holds in memory.
_GROUP = 2**24


class HuggingFace(Format):
    """`data/<split>-00000-of-00001.parquet` and a card, for a plain `datasets.load_dataset`.

    A row is an instance, and a column a parameter or field with the shape of its array, which the
    schema tells to `datasets`; `instance` is its number. No script is needed.
    """

    def write(self, selection: Selection, path: Path) -> None:
        """Write a file for each split, and the card that lists them."""
        view = selection.view
        (path / "data").mkdir()
        first = _row(view, int(selection.instances[0]), selection.dtype)
        schema = _schema(first, selection)
        for split, instances in selection.splits.items():
            target = path / _file(split)
            with parquet.ParquetWriter(target, schema) as writer:
                rows: list[dict[str, Any]] = []
                for instance in instances.tolist():
                    rows.append(_row(view, instance, selection.dtype))
                    if len(rows) * sum(np.asarray(v).nbytes for v in first.values()) >= _GROUP:
                        writer.write_table(_table(rows, schema))
                        rows = []
                if rows:
                    writer.write_table(_table(rows, schema))
        files = [{"split": split, "path": _file(split)} for split in selection.splits]
        head = {"configs": [{"config_name": "default", "data_files": files}]}
        origin = "".join(f"- {key}: {value}\n" for key, value in selection.origin.items())
        sections = {"Load it": _LOAD, "Where it comes from": origin.rstrip()}
        card = write_card(selection.dataset, len(selection.instances), head, sections)
        (path / "README.md").write_text(card, encoding="utf-8")


def _file(split: str) -> str:
    return f"data/{split}-00000-of-00001.parquet"


def _row(view: GridView, instance: int, dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    """Return the columns of an instance."""
    row: dict[str, NDArray[Any]] = {"instance": np.asarray(view.dataset.numbers[instance])}
    fields = {name: view.values(name, instance) for name in view.fields}
    row |= {name: values.astype(dtype) for name, values in (view.given(instance) | fields).items()}
    if (inside := view.inside(instance)) is not None:
        row[INSIDE.name] = inside
    return row


def _schema(row: dict[str, NDArray[Any]], selection: Selection) -> pa.Schema:
    """Return the types of the columns, with the shapes as `datasets` notes them."""
    fields, features = [], {}
    for name, values in row.items():
        kind = pa.from_numpy_dtype(values.dtype)
        feature: dict[str, Any] = {"dtype": str(values.dtype), "_type": "Value"}
        if values.ndim == 1:
            feature = {"feature": feature, "length": values.size, "_type": "List"}
        elif values.ndim:
            shape = list(values.shape)
            feature = {"shape": shape, "dtype": str(values.dtype), "_type": f"Array{values.ndim}D"}
        for _ in values.shape:
            kind = pa.list_(kind)
        fields.append(pa.field(name, kind))
        features[name] = feature
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata=about | dict(selection.origin))


def _table(rows: list[dict[str, NDArray[Any]]], schema: pa.Schema) -> pa.Table:
    columns = [_nested(np.stack([row[name] for row in rows])) for name in schema.names]
    return pa.table([c.cast(t) for c, t in zip(columns, schema.types, strict=True)], schema=schema)


def _nested(values: NDArray[Any]) -> pa.Array:
    """Return an array of lists of lists, one level for each axis but the first."""
    found = pa.array(values.ravel())
    for axis in range(values.ndim - 1, 0, -1):
        count = math.prod(values.shape[:axis])
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(values.shape[axis])
        found = pa.ListArray.from_arrays(pa.array(offsets), found)
    return found
