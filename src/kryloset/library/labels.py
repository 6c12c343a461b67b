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
from kryloset.dataset.layout import LIBVER, grid_group, place
from kryloset.dataset.writer import write_instances
from kryloset.errors import DataError
from kryloset.problems.base import Array, Family

#: The dimension along which instances are counted, and its coordinate: their numbers.
SAMPLE = "sample"


def label(
    config: DatasetConfig,
    family: Family,
    numbers: Sequence[int],
    instances: Iterable[Mapping[str, NDArray[Any]]],
    **rest: Any,
) -> xarray.DataTree:
    """Return instances as a tree of labelled arrays in memory.

    Args:
        config: The number of instances, the further grids and the tolerance count.
        family: The family.
        numbers: Numbers of the instances, the coordinate `sample`.
        instances: Arrays of each instance by variable.
        rest: As of `write_instances`.

    Raises:
        DataError: An array of an instance has not the shape of its variable.
    """
    with h5py.File("memory", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        write_instances(file, "memory", config, family, instances, **rest)
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


def read_parameters(family: Family, instances: xarray.Dataset) -> list[dict[str, Array]]:
    """Return the parameters of labelled instances, each by name.

    Args:
        family: The family.
        instances: As `family.draw` returns them, or some of them, or with other values.

    Raises:
        DataError: A parameter is missing, or its dimensions are not those of the family's grid.
    """
    columns = {}
    for variable in family.parameters:
        if variable.name not in instances:
            raise DataError(
                f"the instances have no parameter {variable.name!r}: take what `family.draw` "
                f"returns, or a dataset with {', '.join(v.name for v in family.parameters)}"
            )
        found = instances[variable.name]
        components = ("component",) if variable.rank else ()
        wanted = (SAMPLE, *variable.axes, *components)
        if set(found.dims) != set(wanted):
            raise DataError(
                f"parameter {variable.name!r} has the dimensions {', '.join(map(str, found.dims))}"
                f"; {', '.join(wanted)} are expected: select instances by a list, as in "
                "instances.isel(sample=[0])"
            )
        columns[variable.name] = found.transpose(*wanted).to_numpy().astype(np.float64)
    return [
        {name: column[row] for name, column in columns.items()}
        for row in range(instances.sizes[SAMPLE])
    ]


def on_further_grids(
    resampled: Mapping[int, Mapping[str, NDArray[Any]]],
) -> dict[str, NDArray[Any]]:
    """Return arrays on further grids by the names that they have in a dataset."""
    return {
        f"{grid_group(points)}/{name}": values
        for points, arrays in resampled.items()
        for name, values in arrays.items()
    }
