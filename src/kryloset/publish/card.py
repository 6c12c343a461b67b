# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write the dataset card, the README.md that hubs show; its head is that of Hugging Face."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kryloset.config import InstancesConfig, count_points
from kryloset.dataset.description import read_quantity, read_title
from kryloset.dataset.layout import grid_group
from kryloset.dataset.reader import Dataset

#: Hugging Face's words for the number of instances, by the number of digits less one.
_SIZES = ("n<1K", "n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")


def summarise(data: Dataset) -> str:
    """Return in a few sentences what a dataset holds and how far it was verified."""
    title, equation = read_title(data)
    residual, tolerance = data.solver()["true_residual"].max(), data.config.solver.tolerance
    points = " x ".join(map(str, data.grid))
    states = "" if data.times is None else f", with states at {len(data.times)} times"
    return (
        f"{title}: {equation}. {len(data)} instances on a grid of {points} points{states}, solved "
        f"with finite elements. The true relative residual of every stored solution is at most "
        f"{residual:.2g} (tolerance {tolerance:.2g}); it was computed again from the matrix, the "
        "solution and the right-hand side."
    )


def write_card(data: Dataset, files: Mapping[str, tuple[str, int]]) -> str:
    """Return the card as Markdown.

    Args:
        data: The dataset.
        files: By the name of each file beside the card, its description and its bytes.
    """
    about = data.about
    licence = about.get("licence")
    head: dict[str, Any] = {} if licence is None else {"license": licence.lower()}
    digits = min(len(str(len(data))) - 1, len(_SIZES) - 1)
    head |= {"pretty_name": data.name, "size_categories": [_SIZES[digits]]}
    head["tags"] = ["pde", "neural operators", "finite elements"]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {data.name}",
        summarise(data),
        _section("Variables", _variables(data)),
        _section("Splits", _splits(data)),
        _section("Files", _files(files)),
        _section("Load it", _LOAD.read_text(encoding="utf-8").strip()),
        _section("Make it again", _AGAIN + _given(data.config.instances)),
        _section("Licence and citation", _rights(about)),
    ]
    return "\n\n".join(parts) + "\n"


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


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


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


def _rights(about: Mapping[str, str]) -> str:
    licence = about.get("licence", "No licence is stated: nobody may use the data without asking")
    told = [f"Licence: {licence}." if "licence" in about else f"{licence}."]
    told += [f"Made by {about['creator'].rstrip('.')}."] if "creator" in about else []
    told += [f"Please cite {about['references'].rstrip('.')}."] if "references" in about else []
    return " ".join(told)
