# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Export: from a dataset's file to the format of another library."""

import json
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.dataset.atomic import write_folder_whole, write_whole
from kryloset.dataset.grids import choose_grids
from kryloset.dataset.integrity import identity
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.export.formats import load_format
from kryloset.export.selection import Selection
from kryloset.version import __version__

logger = logging.getLogger(__name__)

#: The types in which floating-point numbers can be written.
PRECISIONS = ("float32", "float64")
#: What is carried along of `Dataset.about`, and the names that other libraries know it by.
_TOLD = {"licence": "license", "creator": "creator_name", "references": "references"}
#: The file beside an exported folder's data that says where they come from.
ORIGIN = "provenance.json"


def run(
    path: Path,
    *,
    to: str,
    output: Path,
    precision: str = PRECISIONS[0],
    splits: Sequence[str] = (),
    grids: Sequence[str] = (),
    instances: str = ":",
) -> None:
    """Write a dataset, or a part of it, in another format.

    Args:
        path: The dataset's file.
        to: A name of `kryloset.export.formats`.
        output: The file or folder to write, which must not be there yet.
        precision: One of `PRECISIONS`.
        splits: The splits to write; all if none is named.
        grids: The grids to write, by their points a side; by default all if the format has room for
            several, and otherwise the dataset's own.
        instances: A number, or first and last + 1 with a colon between them, as in `0:100`; those
            that are left out are not there.

    Raises:
        ConfigError: There is no such format or precision.
        DataError: The file is not a dataset, has no such split, grid or instances, or does not fit
            into the format; or there is something at `output`.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision}: take one of {', '.join(PRECISIONS)}")
    made = load_format(to)
    if output.exists():
        raise DataError(f"{output} exists already: remove it, or choose another --output")
    with Dataset(path) as dataset:
        chosen = _choose_instances(dataset, path, instances)
        parts = _choose_splits(dataset, path, splits)
        parts = {name: np.intersect1d(part, chosen) for name, part in parts.items()}
        parts = {name: part for name, part in parts.items() if len(part)}
        if not parts:
            raise DataError(f"{path}: no instance of {', '.join(splits)} is among {instances}")
        selection = Selection(
            dataset=dataset,
            instances=np.sort(np.concatenate(list(parts.values()))),
            splits=parts,
            grids=_choose_grids(dataset, grids, several=made.several_grids),
            dtype=np.dtype(precision),
            origin=_origin(dataset, path, to, precision, splits, grids, instances),
        )
        for points in selection.grids:
            if left_out := selection.on(points).left_out:
                logger.info("not on the grid of %s: %s", points or "the dataset", left_out)
        whole = write_folder_whole if made.folder else write_whole
        # Errors about writing are named inside, so others are about reading.
        with describable(path), whole(output) as part:
            made.write(selection, part)
            if made.folder:
                about = json.dumps(dict(selection.origin), indent=2)
                (part / ORIGIN).write_text(f"{about}\n", encoding="utf-8")
    logger.info("%s: %d instances in the format of %s", output, len(selection.instances), to)


def _choose_instances(dataset: Dataset, path: Path, instances: str) -> NDArray[np.int64]:
    """Return the rows of a range of numbers in Python's notation, or of one instance."""
    match = re.fullmatch(r"(\d*)(:?)(\d*)", instances)
    if match is None or not instances:
        raise ConfigError(f"--instances {instances}: write a range such as 0:100, or a number")
    first, colon, last = match.groups()
    numbers, drawn = dataset.numbers, dataset.config.total
    begin = int(first or 0)
    end = int(last or drawn) if colon else begin + 1
    rows = np.flatnonzero((numbers >= begin) & (numbers < end))
    if end > drawn or not len(rows):
        raise DataError(
            f"--instances {instances}: {path} has the instances {numbers[0]} to {numbers[-1]}"
        )
    return rows


def _choose_splits(
    dataset: Dataset, path: Path, names: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    there = dataset.splits()
    for name in names:
        if name not in there:
            raise DataError(f"--split {name}: {path} has the splits {', '.join(there)}")
    return {name: there[name] for name in names or there}


def _choose_grids(
    dataset: Dataset, named: Sequence[str], *, several: bool
) -> tuple[GridPoints | None, ...]:
    """Return the points of each further grid, None for the dataset's own grid."""
    if len(named) > 1 and not several:
        raise ConfigError("--grid: this format has room for one grid, so name one at a time")
    chosen = tuple(choose_grids(dataset, named).values())
    return chosen if several or named else (None,)


def _origin(
    dataset: Dataset,
    path: Path,
    to: str,
    precision: str,
    splits: Sequence[str],
    grids: Sequence[str],
    instances: str,
) -> dict[str, str]:
    """Return where an export comes from; the command names no folder of this machine."""
    words = ["kryloset", "export", path.name, "--to", to, "--precision", precision]
    words += [word for split in splits for word in ("--split", split)]
    words += [word for points in grids for word in ("--grid", points)]
    words += ["--instances", instances] if instances != ":" else []
    found = {
        "exported_from": path.name,
        "exported_digest": identity(dataset.file),
        "exported_by": shlex.join(words),
        "exported_with": f"kryloset {__version__}",
    }
    told = {_TOLD[key]: text for key, text in dataset.about.items() if key in _TOLD}
    return found | told
