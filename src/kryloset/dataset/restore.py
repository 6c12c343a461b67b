# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Restore the configuration and a user's own family from a dataset file, to make it again."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kryloset.config import DatasetConfig, RefinementConfig, dump_dataset
from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.reader import Dataset
from kryloset.dependence import keys_of
from kryloset.errors import DataError
from kryloset.snakefile import command

#: Where the recorded selections are written, in the folder.
CHOICES = "choices.json"
#: Where the workflow looks for its configuration, in the folder.
_CONFIG = "config/config.yaml"


def restore(path: Path, folder: Path) -> str:
    """Write `config/config.yaml`, the files of a user's own family and the recorded selections.

    The configuration replays the selections, if there are any, so that the solutions are the same
    bit for bit. A dataset that grew is made by as many runs as it was: each has a configuration
    with its count and its selections, `config/1.yaml` and so on, the last one `config/config.yaml`,
    which alone makes the shifted instances.

    No file is executed. The family file is written to the path in the configuration, or directly
    into the folder if that path is absolute or leaves the folder.

    Args:
        path: The dataset's file.
        folder: The folder to write to, new or empty.

    Returns:
        The command for the next step; for a dataset that grew, one for each run, joined by `&&`.

    Raises:
        DataError: The file is damaged or not a dataset, or it names files outside of the folder, or
            the folder is not empty.
    """
    with Dataset(path) as data:
        data.require_unchanged_texts()
        name, config, sources = data.name, data.config, data.family_sources()
        choices, earlier = data.choices(), data.provenance().earlier
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already: name a new folder, or an empty one")
    base = PurePosixPath()
    if sources:
        config, base = _placed(config, next(iter(sources)))
    for place in sources:
        if not _is_inside(PurePosixPath(place)) or not place.endswith(".py"):
            raise DataError(
                f"{path}: {place!r}, a file of its family, is not a Python file below the folder"
            )
    for place, text in sources.items():
        write_text_whole(folder / base / place, text)
    there = f"--directory {shlex.quote(str(folder))}"
    commands = []
    for number, run in enumerate(earlier, start=1):
        before = config.model_copy(
            update={"count": run.instances, "refinement": RefinementConfig(), "ood": {}}
        )
        place = f"config/{number}.yaml"
        _write_run(folder, place, name, before, run.choices, f"choices-{number}.json")
        commands.append(command(f"{there} --configfile {shlex.quote(str(folder / place))}"))
    _write_run(folder, _CONFIG, name, config, choices, CHOICES)
    commands.append(command(there))
    return "".join([*_missing(config, folder), " && \\\n".join(commands)])


def _write_run(
    folder: Path,
    place: str,
    name: str,
    config: DatasetConfig,
    choices: str | None,
    replayed: str,
) -> None:
    """Write the configuration of a run at a place, and its selections as the file it replays."""
    policy, update = "measure", {}
    if choices is not None:
        write_text_whole(folder / replayed, choices)
        policy = f"replay {replayed}"
        # Selections are those of a chunk, and another machine may choose another number of chunks.
        chunk = re.search(r'"\d+-of-(\d+)"', choices)
        update = {} if chunk is None else {"chunks": int(chunk[1]) - len(config.ood)}
    solver = config.solver.model_copy(update={"policy": policy})
    config = config.model_copy(update={"solver": solver, **update})
    write_text_whole(folder / place, dump_dataset(name, config, keys_of("merge")))


def _missing(config: DatasetConfig, folder: Path) -> Iterator[str]:
    """Yield what the user has to bring before the dataset can be made again."""
    if config.instances.file:
        yield (
            f"Copy the file with {', '.join(config.instances.names)} (SHA-256 "
            f"{config.instances.sha256}) to {folder / config.instances.file}, then:\n"
        )


def _placed(config: DatasetConfig, place: str) -> tuple[DatasetConfig, PurePosixPath]:
    """Return the configuration and the folder for the files of its family."""
    named, _, kind = config.family.rpartition(":")
    if _is_inside(PurePosixPath(named)) and f"/{named}".endswith(f"/{place}"):
        return config, PurePosixPath(named.removesuffix(place))
    return config.model_copy(update={"family": f"{place}:{kind}"}), PurePosixPath()


def _is_inside(path: PurePosixPath) -> bool:
    """Return whether a path stays in the folder that it is relative to."""
    return not path.is_absolute() and ".." not in path.parts and str(path).isprintable()
