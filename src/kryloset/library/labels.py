# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Labelled arrays of instances, laid out as in a dataset file.

They are written to a file in memory by the functions that write dataset files, and read by xarray,
so that names, dimensions and attributes are those that `kryloset.open` shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import h5py
import numpy as np
import xarray
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import COMPONENT, LIBVER, place
from kryloset.dataset.writer import write_instances
from kryloset.errors import DataError
from kryloset.problems.base import Array, Family, Variable
from kryloset.problems.checks.shapes import fits, format_shape
from kryloset.problems.lattice import cell_centres_of

#: The dimension along which instances are counted, and its coordinate: their numbers.
SAMPLE = "sample"


def label(
    config: DatasetConfig,
    family: Family,
    numbers: Sequence[int] | NDArray[np.int64],
    instances: Iterable[Mapping[str, NDArray[Any]]],
    **rest: Any,
) -> xarray.DataTree:
    """Return instances as a tree of labelled arrays in memory.

    Args:
        config: Gives the number of instances, the further grids and the tolerance.
        family: The family.
        numbers: Numbers of the instances, the coordinate `sample`.
        instances: Arrays of each instance by variable.
        rest: As of `write_instances`.

    Raises:
        DataError: An array does not have the shape of its variable.
    """
    with h5py.File("memory", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        write_instances(file, config.family, config, family, instances, **rest)
        file.flush()
        image = BytesIO(file.id.get_file_image())
    with xarray.open_datatree(image, engine="h5netcdf") as tree:
        tree.load()
    tree.coords[SAMPLE] = (SAMPLE, np.asarray(numbers, dtype=np.int64), tree[SAMPLE].attrs)
    return tree


def join_parameters(tree: xarray.DataTree, family: Family) -> xarray.Dataset:
    """Return the parameters of a tree as one dataset.

    Raises:
        DataError: As `place`.
    """
    paths = [place(family, variable.name).path for variable in family.parameters]
    groups = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    joined = xarray.merge([tree[group].to_dataset() for group in groups])
    return joined[[variable.name for variable in family.parameters]].drop_attrs(deep=False)


class Parameters:
    """Parameters of labelled instances in memory.

    Attributes:
        numbers: Numbers of the instances.
    """

    def __init__(self, family: Family, instances: xarray.Dataset) -> None:
        """Read the parameters.

        Args:
            family: The family.
            instances: As `family.draw` returns them, or some of them, or with other values.

        Raises:
            DataError: They are not a Dataset; a parameter is missing, is not finite, or has other
                dimensions, lengths or coordinates than the family; or `sample` does not number
                the instances.
        """
        if not isinstance(instances, xarray.Dataset):
            raise DataError(
                f"the instances have the type {type(instances).__name__}: give the xarray.Dataset "
                "that `family.draw` returns, or one like it"
            )
        names = [variable.name for variable in family.parameters]
        for name in names:
            if name not in instances:
                raise DataError(
                    f"the instances have no parameter {name!r}: give what `family.draw` returns, "
                    f"or a Dataset with {', '.join(names)}"
                )
        self._columns = {
            variable.name: _read_column(family, variable, instances)
            for variable in family.parameters
        }
        numbered = SAMPLE in instances.coords
        count = len(next(iter(self._columns.values())))
        numbers = instances[SAMPLE].to_numpy() if numbered else np.arange(count)
        if not np.can_cast(numbers.dtype, np.int64):
            raise DataError(
                f"the coordinate `sample` holds {numbers.dtype}, and must number the instances by "
                "integers: drop it, and they are numbered from 0"
            )
        self.numbers = numbers.astype(np.int64)
        if count == 0 or len(np.unique(self.numbers)) < count:
            raise DataError(
                "there is no instance, or two have the same number: the coordinate `sample` "
                "numbers them"
            )
        for name in names:
            _require_finite(name, self._columns[name], self.numbers)

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.numbers)

    def instances(self, indices: Sequence[int]) -> list[dict[str, Array]]:
        """Return the parameters of the instances at some places, by name."""
        columns = self._columns.items()
        return [{name: np.asarray(column[i]) for name, column in columns} for i in indices]


def _read_column(family: Family, variable: Variable, instances: xarray.Dataset) -> Array:
    """Return a parameter of all instances, shape (count, ...)."""
    found = instances[variable.name]
    wanted = (SAMPLE, *variable.axes, *((COMPONENT,) if variable.rank else ()))
    if set(found.dims) != set(wanted):
        raise DataError(
            f"parameter {variable.name!r} has the dimensions {', '.join(map(str, found.dims))}, "
            f"and {', '.join(wanted)} are expected: select instances by a list, as in "
            "instances.isel(sample=[0])"
        )
    values = found.transpose(*wanted).to_numpy()
    lengths = variable.lengths(family.coordinates, cell_centres_of(family))
    if values.dtype.kind not in "biuf" or not fits(values.shape[1:], lengths):
        raise DataError(
            f"parameter {variable.name!r} has the shape {values.shape[1:]} and the type "
            f"{values.dtype}; the family has real numbers of the shape {format_shape(lengths)}: "
            "draw instances with the same settings"
        )
    for axis in variable.axes:
        _require_grid(family, instances, axis)
    return np.asarray(values, dtype=np.float64)


def _require_grid(family: Family, instances: xarray.Dataset, axis: str) -> None:
    """Refuse values at other points than the family's, such as those of a reversed axis."""
    points = {**family.coordinates, **cell_centres_of(family)}.get(axis)
    if points is None or axis not in instances.coords:
        return
    found = instances[axis].to_numpy()
    if found.dtype.kind not in "iuf" or not np.allclose(found, points, rtol=0, atol=1e-6):
        raise DataError(
            f"the coordinate {axis!r} of the instances is not that of the family's grid, which "
            f"goes from {points[0]:g} to {points[-1]:g}: sort or interpolate the values to it, or "
            "drop the coordinate if they are at those points"
        )


def _require_finite(name: str, column: Array, numbers: NDArray[np.int64]) -> None:
    finite = np.isfinite(column).reshape(len(column), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"instance {numbers[finite.argmin()]}: parameter {name!r} is not finite: correct its "
            "values, or leave the instance out"
        )
