# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family as a dataset describes it, without the code that draws and solves its instances."""

from typing import Any

from kryloset.dataset.layout import COMPONENT, ROLES
from kryloset.dataset.opening import describable
from kryloset.dataset.ragged import offsets_path
from kryloset.dataset.reader import Dataset
from kryloset.problems.base import Array, Family, Variable


class DescribedFamily(Family):
    """The names, variables, grid and times of the family that a dataset was made with.

    So a reader needs no file of a user's own family, and runs nothing of it.

    Args:
        data: The dataset.

    Raises:
        DataError: The file lacks a part of the description.
    """

    def __init__(self, data: Dataset) -> None:
        """Read the description."""
        self._coordinates, self._times = data.coordinates, data.times
        with describable(data.path):
            names = zip(ROLES, (data.parameters, data.fields, data.unknowns), strict=True)
            roles = {role: tuple(_read(data, name) for name in each) for role, each in names}
            attributes = data.file.attrs
            summary = str(attributes.get("summary", attributes["title"]))
            equation = str(attributes["equation"])
        vars(self).update(roles, summary=summary, equation=equation)
        super().__init__(data.config.parameters, data.config.mesh)
        self.dimension = len(self._coordinates)

    @property
    def coordinates(self) -> dict[str, Array]:
        """Ascending coordinates of the grid by axis, in the order of the axes."""
        return self._coordinates

    @property
    def times(self) -> Array | None:
        """The times of the stored states; None for a steady problem."""
        return self._times

    def draw(self, generator: Any) -> dict[str, Array]:
        """Refuse: a dataset cannot draw."""
        raise NotImplementedError("a dataset describes its family, and cannot draw from it")


def _read(data: Dataset, name: str) -> Variable:
    """Return the variable that an array of instances holds."""
    array = data.array(name)
    axes = [dim.keys()[0] for dim in array.dims]
    ragged = offsets_path(array.name) in data.file
    own = [axis for axis in axes if axis not in ("sample", "time", COMPONENT)]
    return Variable(
        name,
        str(array.attrs["long_name"]),
        str(array.attrs["units"]),
        tuple(own),
        "log" if array.attrs.get("transform") == "log" else "identity",
        1 if COMPONENT in axes else 0,
        bool(array.attrs.get("fixed", False)),
        ragged,
    )
