# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dataset card of a published folder: what is in the file, and how to load it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kryloset.config import InstancesConfig, count_points
from kryloset.dataset.card import write_card
from kryloset.dataset.description import read_quantity
from kryloset.dataset.layout import grid_group
from kryloset.dataset.reader import Dataset


def describe_folder(data: Dataset, files: Mapping[str, tuple[str, int]]) -> str:
    """Return the card of a published folder.

    Args:
        data: The dataset.
        files: By the name of each file beside the card, its description and its bytes.
    """
    sections = {
        "Variables": _variables(data),
        "Splits": _splits(data),
        "Files": _files(files),
        "Load it": _LOAD.read_text(encoding="utf-8").strip(),
        "Make it again": _AGAIN + _given(data.config.instances),
    }
    return write_card(data, len(data), {}, sections)


#: How to load a dataset: the same for all.
_LOAD = Path(__file__).with_suffix(".md")

_AGAIN = """The file holds its configuration and its seed. `kryloset restore dataset.h5 again`
writes them to a folder and prints the command that makes the dataset there; `kryloset check
dataset.h5` verifies every parameter and every residual from the file alone. `sha256sum --check
SHA256SUMS` compares the files with those that were published."""


def _given(instances: InstancesConfig) -> str:
    """Return which file is needed for all of that, if parameters were read from one."""
    if instances.file is None:
        return ""
    return (
        f"\n\nThe values of {', '.join(instances.names)} were read from `{instances.file}` "
        f"(SHA-256 `{instances.sha256}`). It is needed to make the dataset again. Without it, "
        "`kryloset check` compares these values with their stored digests."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _variables(data: Dataset) -> str:
    rows = []
    for name in (*data.parameters, *data.fields):
        array, numbers = data.array(name), data.statistics(name)
        role = "parameter" if name in data.parameters else "solution"
        shape = " x ".join(map(str, array.shape))
        figures = [f"{numbers[key]:.4g}" for key in ("mean", "std", "min", "max")]
        path = array.name.lstrip("/")
        rows.append((f"`{path}`", *read_quantity(data, name), role, shape, *figures))
    head = ("path", "quantity", "unit", "role", "shape", "mean", "std", "min", "max")
    grids = "".join(
        f" The same functions on a grid of {count_points(points)} are in `{grid_group(points)}/`."
        for points in data.config.mesh.grids
    )
    return f"{_table(head, rows)}\n\nThe statistics are those of the training split.{grids}"


def _splits(data: Dataset) -> str:
    rows = [(f"`splits/{name}`", len(numbers)) for name, numbers in data.splits().items()]
    return _table(("split", "instances"), rows)


def _files(files: Mapping[str, tuple[str, int]]) -> str:
    rows = [(f"`{name}`", text, f"{size:,}") for name, (text, size) in files.items()]
    return _table(("file", "content", "bytes"), rows)
