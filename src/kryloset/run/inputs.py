# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read the files of earlier stages, with errors for people."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, parse_config
from kryloset.dataset.staged import StagedFile
from kryloset.dependence import keys_of
from kryloset.errors import DataError
from kryloset.problems import Family
from kryloset.run import files
from kryloset.yaml_text import parse_yaml


@contextmanager
def open_input(path: Path, config: DatasetConfig, name: str, group: str) -> Iterator[StagedFile]:
    """Open a file of an earlier stage for reading.

    Args:
        path: The file.
        config: The dataset, for the number of instances that `group` must hold.
        name: Name of the dataset, for messages.
        group: The array or group that the stage needs.

    Raises:
        DataError: The file is missing, damaged, or of another size.
    """
    with StagedFile(path) as file:
        paths = [group] if group in file else [f"{group}/{inner}" for inner in file.names(group)]
        if not paths:
            raise DataError(f"{path} has no {group!r}: it is not a file of that stage")
        sizes = {file.length(inner) for inner in paths}
        if sizes != {config.count}:
            raise DataError(
                f"{path} holds {', '.join(map(str, sizes))} instances, dataset {name} has "
                f"{config.count}: make it again with this configuration"
            )
        yield file


def require_same(file: StagedFile, config: DatasetConfig, stage: str) -> None:
    """Refuse a file that a stage made with another configuration.

    Raises:
        DataError: A key that the stage depends on differs, or the file has no configuration.
    """
    text = file.attrs.get(files.CONFIG)
    if text is None:
        raise DataError(f"{file.path} does not have its configuration; make it again")
    source = f"{file.path}: the attribute {files.CONFIG!r}"
    (other,) = parse_config(parse_yaml(text, source), source).datasets.values()
    for key in sorted(keys_of(stage)):
        if getattr(other, key) != getattr(config, key):
            raise DataError(
                f"{file.path} was made with another {key}: {getattr(other, key)}, "
                f"not {getattr(config, key)}; make it again with this configuration"
            )


def require_made_from(made: StagedFile, parameters: StagedFile) -> None:
    """Refuse a file that a stage made from other parameters.

    Raises:
        DataError: The digests of the parameters differ.
    """
    if made.attrs.get(files.DRAWN) != parameters.digest(files.PARAMETERS):
        raise DataError(
            f"{made.path} was made from other parameters than those of {parameters.path}; make it "
            "again from these"
        )


class Rows(Protocol):
    """Arrays with a row for each instance, in a file of an earlier stage or in memory."""

    @property
    def path(self) -> Path:
        """The name of the file in messages."""

    def __contains__(self, path: str) -> bool:
        """Return whether there is an array with that path."""

    def row(self, path: str, number: int) -> NDArray[Any]:
        """Return the row of one instance."""

    def rows(self, path: str, begin: int, end: int) -> NDArray[Any]:
        """Return the rows from `begin` to `end` - 1."""


def read_instance(file: Rows, family: Family, index: int) -> dict[str, NDArray[np.float64]]:
    """Read the parameters of one instance from an open `parameters.h5`.

    Raises:
        DataError: A parameter of the family is missing or damaged.
    """
    (instance,) = read_instances(file, family, [index])
    return instance


def read_instances(
    file: Rows, family: Family, indices: Sequence[int]
) -> list[dict[str, NDArray[np.float64]]]:
    """Read the parameters of some instances from an open `parameters.h5`.

    Raises:
        DataError: A parameter of the family is missing or damaged.
    """
    paths = {v.name: parameter_path(file, v.name) for v in family.parameters}
    return [{name: file.row(path, i) for name, path in paths.items()} for i in indices]


def parameter_path(file: Rows, name: str) -> str:
    """Return the path of a parameter in an open `parameters.h5`.

    Raises:
        DataError: The parameter is missing.
    """
    path = files.parameter(name)
    if path not in file:
        raise DataError(f"{file.path} has no {path}: it was drawn for another family")
    return path
