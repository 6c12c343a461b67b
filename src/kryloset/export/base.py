# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What every format is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from kryloset.export.selection import Selection


class Format(ABC):
    """A format that a dataset can be exported to.

    Attributes:
        several_grids: Whether it has room for several grids.
        folder: Whether it is a folder and not one file.
    """

    several_grids: ClassVar[bool] = False
    folder: ClassVar[bool] = True

    @abstractmethod
    def write(self, selection: Selection, path: Path) -> None:
        """Write what was selected, an instance at a time.

        Args:
            selection: What to write.
            path: An empty folder, or the file to write if the format is one file.

        Raises:
            DataError: The format cannot hold the dataset.
        """
