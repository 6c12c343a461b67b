# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Extend a dataset from its file alone: the stages of the workflow, one after another.

A killed extension resumes: its files are in a folder beside the dataset until the extended one has
taken its place.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

from kryloset.config import (
    DatasetConfig,
    GridPoints,
    count_points,
    dump_dataset,
    load_dataset,
    parse_config,
    plain,
)
from kryloset.dataset.reader import Dataset
from kryloset.dataset.restore import restore
from kryloset.errors import ConfigError, DataError
from kryloset.problems import load_family
from kryloset.provenance import family_sources
from kryloset.run import files, sort
from kryloset.run.chunking import count_chunks
from kryloset.run.inputs import open_order
from kryloset.run.one_process import finish


def run(
    path: Path,
    *,
    count: int | None = None,
    grids: Sequence[GridPoints] = (),
    run_family: bool = False,
) -> str:
    """Draw and solve further instances of a dataset, or keep its first ones alone.

    Args:
        path: The dataset, which is replaced once the extended one is complete and verified.
        count: Number of instances; by default as many as there are.
        grids: Points of further grids on which solutions are evaluated.
        run_family: Whether the text of a user's own family in the dataset may be run.

    Returns:
        What was done, in a sentence.

    Raises:
        ConfigError: Count or grids do not fit the dataset, or are those that it has.
        DataError: The file is damaged or not a dataset; the workflow made it in this folder, and
            grows it; its family is a text in it that may not be run; or its instances are now drawn
            otherwise.
        KrylosetError: As the stages.
    """
    path = path.absolute()
    with Dataset(path) as data:
        data.require_unchanged_texts()
        name, before, sources = data.name, data.config, data.family_sources()
        axes = len(data.grid)
    if path.with_name("order.h5").exists():
        raise DataError(
            f"{path} belongs to a workflow: raise `count` of {name} in its configuration and run "
            "it again, or extend a copy in another folder"
        )
    for points in grids:
        if isinstance(points, tuple) and len(points) != axes:
            raise ConfigError(
                f"a grid of {count_points(points)} has {len(points)} axes, and the dataset has "
                f"{axes}: name the points along each of them, or one number for all"
            )
    config = _extended(name, before, before.count if count is None else count, grids)
    folder = path.with_name(f"{path.name}.working")
    # Whatever an earlier extension to another dataset left would only be in the way.
    text = dump_dataset(name, config)
    begun = folder / "config.yaml"
    if folder.exists() and not (begun.is_file() and begun.read_text(encoding="utf-8") == text):
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    begun.write_text(text, encoding="utf-8")
    with _family_there(path, folder, config, name, sources, run_family=run_family) as here:
        _make(here, name, path, folder)
    shutil.rmtree(folder)
    with Dataset(path) as data:
        kept = int((data.numbers < min(before.count, config.count)).sum())
        return f"{path}: {len(data)} instances, of which {kept} were kept"


def _extended(
    name: str, before: DatasetConfig, count: int, grids: Sequence[GridPoints]
) -> DatasetConfig:
    """Return the configuration of the extended dataset, after its checks."""
    further = list(dict.fromkeys([*before.mesh.grids, *grids]))
    if count == before.count and len(further) == len(before.mesh.grids):
        raise ConfigError(
            f"the dataset has {count} instances and these grids: name another count or a new grid"
        )
    tree = before.model_dump(mode="json")
    tree["count"] = count
    tree["mesh"]["grids"] = plain(tuple(further))
    if before.chunks != "auto":
        tree["chunks"] = min(before.chunks, count)
    # Choices of the run before are about other systems.
    tree["solver"]["policy"] = "measure"
    return parse_config({"datasets": {name: tree}}, "the extended dataset").datasets[name]


@contextmanager
def _family_there(
    path: Path,
    folder: Path,
    config: DatasetConfig,
    name: str,
    sources: dict[str, str],
    *,
    run_family: bool,
) -> Iterator[DatasetConfig]:
    """Work where the user's own family is found: here if it is here, or from its text."""
    file, colon, _ = config.family.rpartition(":")
    if not colon or (os.path.isfile(file) and family_sources(config) == sources):
        yield config
        return
    if not run_family:
        raise DataError(
            f"{path} has a family of its own, {config.family}, which is not here with the text "
            "that made the dataset: go to the folder where it is, or give --run-family to run the "
            "text in the file, if you trust whoever made it"
        )
    place = folder / "family"
    shutil.rmtree(place, ignore_errors=True)
    restore(path, place)
    restored = load_dataset(place / "config/config.yaml", name)
    with chdir(place):
        yield config.model_copy(update={"family": restored.family})


def _make(config: DatasetConfig, name: str, path: Path, folder: Path) -> None:
    order, chunks = folder / "order.h5", count_chunks(config, load_family(config), workers=1)
    if not _is_sorted(order, config):
        sort.run(config, name, output=order, chunks=chunks, earlier=path)
    with open_order(order, config) as sorted_:
        if files.kept(None) not in sorted_:
            raise DataError(
                f"{path} cannot be extended, since none of its instances could be kept: its "
                "parameters are now drawn otherwise, by another version of the code or kind of "
                "processor; make a dataset with another seed"
            )
    finish(config, name, order=order, chunks=chunks, folder=folder, output=path)


def _is_sorted(order: Path, config: DatasetConfig) -> bool:
    """Return whether a killed extension has left an order that keeps instances."""
    try:
        with open_order(order, config) as sorted_:
            return files.kept(None) in sorted_
    except DataError:
        return False
