# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The given parameters of a dataset that is checked: those of their file, if it is there."""

import os
from typing import Any

from numpy.typing import NDArray

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems import Family
from kryloset.problems.checks.drawing import Given


class Recalled:
    """Given parameters as the dataset has them, whose file is not there.

    The dataset's own values stand for those of the file, so that all other parameters can be drawn
    again. That nobody changed them is known from their digests.

    Attributes:
        names: Names of the parameters.
        told: As of `Given`.
    """

    def __init__(self, data: Dataset) -> None:
        """Take the names from the configuration, which has those of all given parameters."""
        settings = data.config.instances
        self.names = frozenset(settings.names)
        self.told = (
            f"not compared with {settings.file} (SHA-256 {settings.sha256}), which is not here, "
            "but with the stored digests"
        )
        self._data = data

    def row(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the values of an instance by name."""
        stored = self._data.instance(self._data.row_of(index))
        return {name: stored[name] for name in self.names}

    def place(self, name: str, index: int) -> str:
        """Return where the values of an instance are, in words."""
        return f"row {self._data.row_of(index)} of the dataset"


def find_given(data: Dataset, family: Family) -> Given | None:
    """Return the given parameters of a dataset; None if all were drawn.

    Raises:
        DataError: The file of the same name is another one, or cannot be read.
    """
    settings = data.config.instances
    if settings.file is None:
        return None
    if not os.path.exists(settings.file):
        return Recalled(data)
    from kryloset.given.parameters import GivenParameters, digest_path

    given = GivenParameters(data.config, family)
    found = digest_path(given.path)
    if found != settings.sha256:
        raise DataError(
            f"{given.path} is not the file that the dataset was made from: its SHA-256 digest is "
            f"{found}, and that of the other {settings.sha256}: bring that one back, or check in "
            "another folder"
        )
    return given
