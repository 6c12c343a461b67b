# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""HDF5 files in the layout of PDEBench."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import create_hdf5
from kryloset.errors import DataError
from kryloset.export.base import Format
from kryloset.export.selection import GridView, Selection


class PDEBench(Format):
    """`<name>_<split>.hdf5`, as `FNODatasetSingle` of PDEBench reads one.

    `tensor` is the solution (instance, time, *grid) if it is one function. Otherwise each component
    is an array of its own name, as in PDEBench's files of compressible flow. `nu` is the parameter
    (instance, *grid) if one alone varies along all axes and no other has that name; all others have
    their names. The axes are `t-coordinate`, `x-coordinate` and so on.
    """

    def write(self, selection: Selection, path: Path) -> None:
        """Write a file for each split."""
        view, dtype = selection.view, selection.dtype
        if view.dataset.masked is not None:
            raise DataError(
                f"{selection.dataset.file.filename}: points of the grid lie outside of the domain, "
                "and PDEBench has no mask: export to well or neuraloperator"
            )
        times = {} if view.dataset.times is None else {"t": view.dataset.times}
        for split, instances in selection.splits.items():
            with create_hdf5(path / f"{selection.dataset.name}_{split}.hdf5") as file:
                file.attrs.update(selection.origin)
                for axis, line in {**times, **view.coordinates}.items():
                    file[f"{axis}-coordinate"] = line.astype(dtype)
                for row, instance in enumerate(instances.tolist()):
                    for name, values in _arrays(view, instance).items():
                        if name not in file:
                            shape = (len(instances), *values.shape)
                            chunks = (1, *values.shape) if values.ndim else None
                            file.create_dataset(name, shape, dtype, chunks=chunks)
                        file[name][row] = values


def _arrays(view: GridView, instance: int) -> Mapping[str, NDArray[Any]]:
    """Return all arrays of an instance by name, a steady solution with one time."""
    found = dict(_named(view, view.parameters, instance))
    functions = [name for name in found if found[name].shape == view.shape]
    if len(functions) == 1 and "nu" not in found:
        found["nu"] = found.pop(functions[0])
    states = {
        name: values if values.ndim > len(view.shape) else values[np.newaxis]
        for name, values in _named(view, view.fields, instance)
    }
    return found | ({"tensor": next(iter(states.values()))} if len(states) == 1 else states)


def _named(
    view: GridView, names: Iterable[str], instance: int
) -> Iterable[tuple[str, NDArray[Any]]]:
    """Yield the components of variables with their names; numbers and profiles as they are."""
    for name in names:
        if view.is_whole(name) or view.rank(name):
            yield from zip(view.components(name), view.channels([name], instance), strict=True)
        else:
            yield name, view.values(name, instance)
