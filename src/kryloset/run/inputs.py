# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read the files of earlier stages, with errors for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kryloset.config import DatasetConfig, parse_config
from kryloset.dataset.failures import Failure, parse_failures
from kryloset.dataset.staged import StagedFile
from kryloset.dependence import keys_of
from kryloset.errors import DataError
from kryloset.run import files
from kryloset.yaml_text import parse_yaml


def read_failures(file: StagedFile) -> tuple[Failure, ...]:
    """Return what failed when a file was made.

    Raises:
        DataError: The file is damaged.
    """
    if files.FAILURES not in file:
        return ()
    return parse_failures(file.text(files.FAILURES), str(file.path))


@contextmanager
def open_order(path: Path, config: DatasetConfig) -> Iterator[StagedFile]:
    """Open `order.h5`.

    Args:
        path: The file.
        config: The dataset that is to be made from it.

    Raises:
        DataError: The file is missing, damaged, or of another configuration.
    """
    with StagedFile(path) as file:
        if files.DRAWN not in file or files.PERMUTATION not in file:
            raise DataError(f"{path} has no {files.DRAWN!r}: it is not the file of `kryloset sort`")
        require_same(file, config, "sort")
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


def require_made_from(made: StagedFile, order: StagedFile) -> None:
    """Refuse a chunk whose instances are not those of an order.

    Raises:
        DataError: The digests of the drawn instances differ.
    """
    if made.attrs.get(files.DRAWN) != order.seal(files.DRAWN):
        raise DataError(
            f"{made.path} was made from other parameters than {order.path}; make it again"
        )
