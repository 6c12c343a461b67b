# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Restore the configuration and a user's own family from a dataset file, to make it again."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from shutil import which

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.reader import Dataset
from kryloset.dependence import keys_of
from kryloset.errors import DataError


def restore(path: Path, folder: Path) -> str:
    """Write `config/config.yaml` and the files of a user's own family.

    No file is executed. The family file is written to the path in the configuration, or directly
    into the folder if that path is absolute or leaves the folder.

    Args:
        path: The dataset's file.
        folder: The folder to write to, new or empty.

    Returns:
        Instructions for the next step: a sentence, if needed, and a command.

    Raises:
        DataError: The file is damaged or not a dataset, or it names files outside of the folder, or
            the folder is not empty.
    """
    with Dataset(path) as data:
        data.require_unchanged_texts()
        name, config, sources = data.name, data.config, data.family_sources()
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
    write_text_whole(folder / "config/config.yaml", dump_dataset(name, config, keys_of("merge")))
    return "".join([*_missing(config, folder), command(folder)])


def command(folder: Path) -> str:
    """Return the command that makes the dataset in a restored folder."""
    snakefile = Path(__file__).parents[3] / "workflow/Snakefile"
    clone = shlex.quote(str(snakefile)) if snakefile.exists() else "CLONE/workflow/Snakefile"
    # If the environment is not activated, the program is beside this Python.
    beside = Path(sys.executable).with_name("snakemake")
    program = "snakemake" if which("snakemake") else shlex.quote(str(beside))
    line = f"{program} --cores all --snakefile {clone} --directory {shlex.quote(str(folder))}"
    return line if snakefile.exists() else f"{line}  (CLONE: a clone of Kryloset's repository)"


def _missing(config: DatasetConfig, folder: Path) -> Iterator[str]:
    """Yield what the user has to bring before the dataset can be made again."""
    if config.solver.replayed:
        yield f"Copy the recorded choices to {folder / config.solver.replayed}, then:\n"
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
