# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parameters that a file has, read an instance at a time."""

import hashlib
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.given.formats import list_arrays
from kryloset.given.matching import Column, match
from kryloset.problems import Family


class GivenParameters:
    """The parameters that a dataset takes from a file.

    Args:
        config: The dataset, which names a file.
        family: Its family.

    Attributes:
        path: The file.
        names: Names of the parameters that it has.
        told: As of `Given`.

    Raises:
        ConfigError: As `match`.
        DataError: As `match` and `list_arrays`.
    """

    def __init__(self, config: DatasetConfig, family: Family) -> None:
        """Find the parameters in the file. No values are read yet."""
        self.path = Path(str(config.instances.file))
        self._config, self._family = config, family
        self._process, self._columns = os.getpid(), self._match()
        self.names = frozenset(self._columns)
        self.told = f"read again from {self.path}, bit for bit"

    def _match(self) -> dict[str, Column]:
        arrays = list_arrays(self.path)
        columns = match(self._family, self._config, self.path, arrays)
        return {column.variable.name: column for column in columns}

    def row(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the parameters of an instance by name.

        Raises:
            DataError: The file cannot be read.
        """
        if os.getpid() != self._process:  # An open file is not shared with the process it is from.
            self._process, self._columns = os.getpid(), self._match()
        try:
            return {name: column.row(index) for name, column in self._columns.items()}
        except KrylosetError:
            raise
        except Exception as error:  # of a dozen types
            raise DataError(
                f"{self.path}: the parameters of instance {index} cannot be read: {error}"
            ) from error

    def place(self, name: str, index: int) -> str:
        """Return where the file has a parameter of an instance, in words."""
        return f"row {index} of {self._columns[name].name!r} in {self.path}"

    def digest(self) -> str:
        """Return the digest of the file, which is read whole.

        Raises:
            ConfigError: The configuration has the digest of another file.
            DataError: The file cannot be read.
        """
        found, stated = digest_path(self.path), self._config.instances.sha256
        if stated not in (None, found):
            raise ConfigError(
                f"instances.sha256: {self.path} has the digest {found}, not {stated}: bring back "
                "the file that was meant, or leave the key out"
            )
        return found

    def complete(self) -> DatasetConfig:
        """Return the configuration with the names of all arrays, and the digest of the file.

        Raises:
            ConfigError: As `digest`.
            DataError: As `digest`.
        """
        names = {name: column.name for name, column in self._columns.items()}
        update = {"names": names, "sha256": self.digest()}
        instances = self._config.instances.model_copy(update=update)
        return self._config.model_copy(update={"instances": instances})


def digest_path(path: Path) -> str:
    """Return the SHA-256 digest of a file; for a folder that of the digests of its files.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{digest_path(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return hashlib.sha256("".join(lines).encode()).hexdigest()
