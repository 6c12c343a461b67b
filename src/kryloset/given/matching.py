# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which arrays of a file are parameters of a family, and whether they fit.

All of it is known from names, shapes, types and attributes, before a value is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, InstancesConfig
from kryloset.dataset.layout import ROLES, WELL_GROUPS
from kryloset.errors import ConfigError, DataError
from kryloset.given.formats import FileArray
from kryloset.given.resampling import Places, resample
from kryloset.problems.base import Array, Family, Variable, cell_axis
from kryloset.problems.checks.drawing import draw_example
from kryloset.problems.checks.shapes import fits, format_shape
from kryloset.problems.lattice import cell_centres_of

#: Distance between coordinates, relative to the length of the axis, up to which they are the same:
#: files often have them in single precision.
_ROUNDING = 1e-6


#: Places along the axes of an array after that of the instances.
type Index = tuple[int | slice, ...]

_ALL = slice(None)


@dataclass(frozen=True)
class Column:
    """An array of a file that has the values of a parameter.

    Attributes:
        variable: The parameter.
        array: The array.
        index: The places along the axes after that of the instances that are taken; a slice takes
            all of an axis.
        shared: Whether all instances have the same values, and no axis counts them.
        along: How values are resampled, by the number of the axis; empty if they are not.
    """

    variable: Variable
    array: FileArray
    index: Index
    shared: bool
    along: Mapping[int, Places]

    @property
    def name(self) -> str:
        """The name of the array with the place that is taken, as the configuration has it."""
        places = ", ".join(":" if place == _ALL else str(place) for place in self.index)
        return f"{self.array.name}[{places}]" if places else self.array.name

    def row(self, number: int) -> NDArray[Any]:
        """Return the values of an instance."""
        values = self.array.read(self.index if self.shared else (number, *self.index))
        return resample(values, self.along) if self.along else np.asarray(values)


def match(
    family: Family, config: DatasetConfig, path: Path, arrays: Mapping[str, FileArray]
) -> list[Column]:
    """Return the parameters that a file has.

    Args:
        family: The family.
        config: The dataset, whose `instances` may name arrays.
        path: The file, for messages.
        arrays: Its arrays, by name.

    Raises:
        ConfigError: `instances.names` names a parameter that the family does not have.
        DataError: The file has none of the parameters, or an array does not fit its parameter.
    """
    parameters = {variable.name: variable for variable in family.parameters}
    there = ", ".join(map(str, arrays.values())) or "none"
    for name, wanted in config.instances.names.items():
        if name not in parameters:
            raise ConfigError(
                f"instances.names: family {config.family} has no parameter {name!r}: it has "
                f"{', '.join(parameters)}"
            )
        if _find(arrays, _split(wanted)[0]) is None:
            raise DataError(f"instances.names: {path} has no array {wanted!r}; it has {there}")
    columns = []
    for name, variable in parameters.items():
        wanted, index = _split(config.instances.names.get(name, name))
        array = _find(arrays, wanted)
        if array is None and len(arrays) == len(parameters) == 1:
            (array,) = arrays.values()
        if array is not None:
            columns.append(_Fit(family, config, path, arrays, variable, array, index).column())
    if not columns:
        raise DataError(
            f"{path} has no array with the name of a parameter of family {config.family} "
            f"({', '.join(parameters)}): name it by `instances: {{file: {path}, names: "
            f"{{{next(iter(parameters))}: ARRAY}}}}`; it has the arrays {there}"
        )
    _require_described(path, columns, parameters)
    return columns


def _split(wanted: str) -> tuple[str, Index]:
    """Return the name of an array, and the places that are taken along its axes."""
    name, _, places = wanted.partition("[")
    found = re.findall(r"\d+|:", places)
    return name, tuple(_ALL if place == ":" else int(place) for place in found)


def _find(arrays: Mapping[str, FileArray], name: str) -> FileArray | None:
    """Return the array of a name, in one of the groups of The Well or of a dataset if need be."""
    groups = ("", *(f"{group}/" for group in (*WELL_GROUPS, *ROLES)))
    return next((arrays[group + name] for group in groups if group + name in arrays), None)


def _require_described(
    path: Path, columns: list[Column], parameters: Mapping[str, Variable]
) -> None:
    """Refuse a file without a parameter that describes others.

    Raises:
        DataError: One is missing. Drawn, it would describe other values than those of the file.
    """
    found = {column.variable.name for column in columns}
    missing = [v.name for v in parameters.values() if v.descriptive and v.name not in found]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}, which describes other parameters to readers: add "
            "it to the file, since what is drawn would not describe them"
        )


class _Fit:
    """Compares an array with the parameter that it is to be."""

    def __init__(
        self,
        family: Family,
        config: DatasetConfig,
        path: Path,
        arrays: Mapping[str, FileArray],
        variable: Variable,
        array: FileArray,
        index: Index,
    ) -> None:
        self._settings: InstancesConfig = config.instances
        self._count = config.count
        self._arrays = arrays
        self._variable, self._array, self._index = variable, array, index
        centres = cell_centres_of(family)
        self._grid, self._centres = {**family.coordinates, **centres}, centres
        self._ends: dict[str, tuple[float, float]] = {}
        self._periodic: set[str] = set()
        for axis, line in family.coordinates.items():
            both = (axis, cell_axis(axis))
            self._ends |= dict.fromkeys(both, (line[0], family.end_of(axis)))
            self._periodic |= set(both) if family.is_periodic(axis) else set()
        self._where = f"{path}: {array.name!r}, for the parameter {variable.name!r},"
        lengths = variable.lengths(family.coordinates, centres)
        if None in lengths:
            # Along its own axes a parameter is as long as what the family draws.
            lengths = draw_example(family)[variable.name].shape
        self._lengths = lengths
        self._shared = array.shared or (variable.fixed and fits(array.shape, lengths))

    def column(self) -> Column:
        """Return the array as a column.

        Raises:
            DataError: It does not fit; the message says what to do.
        """
        self._require_numbers()
        self._require_units()
        self._require_instances()
        shape = self._of_instance(self._array.shape)
        self._require_axes(shape)
        return Column(
            self._variable, self._array, self._index, self._shared, self._resampling(shape)
        )

    def _of_instance[T](self, of_axes: tuple[T, ...]) -> tuple[T, ...]:
        """Return what belongs to the axes that an instance has after the index was taken."""
        own = of_axes[0 if self._shared else 1 :]
        begin = zip(own, self._index, strict=False)
        return (*(one for one, place in begin if place == _ALL), *own[len(self._index) :])

    def _require_numbers(self) -> None:
        dtype = self._array.dtype
        complex_ = dtype.kind == "c" or set(dtype.names or ()) in ({"real", "imag"}, {"r", "i"})
        if complex_:
            raise DataError(
                f"{self._where} holds complex numbers: write their real and imaginary parts as two "
                "arrays, for two parameters"
            )
        if dtype.kind not in "biuf":
            raise DataError(f"{self._where} holds values of the type {dtype}: write numbers")

    def _require_units(self) -> None:
        stated, wanted = self._array.units, self._variable.units
        if stated is not None and _plain_units(stated) != _plain_units(wanted):
            raise DataError(
                f"{self._where} has the units {stated!r}, and the parameter {wanted!r}: convert "
                "the values, and write the attribute `units` as the parameter has it"
            )

    def _require_instances(self) -> None:
        array, index = self._array, self._index
        if self._shared:
            return
        if len(array.shape) <= len(index):
            raise DataError(
                f"{self._where} has the shape {array.shape}: its first axis must count the "
                f"instances{', and others follow that the index takes' if index else ''}"
            )
        for axis, place in enumerate(index, start=1):
            if isinstance(place, int) and place >= array.shape[axis]:
                raise DataError(
                    f"{self._where} has {array.shape[axis]} entries along axis {axis}, counted "
                    f"from 0: there is no entry {place}"
                )
        rows, lengths = array.shape[0], self._lengths
        if not index and array.shape[1:] != lengths and fits(array.shape[:-1], lengths):
            raise DataError(
                f"{self._where} has the shape {array.shape}, so that its last axis counts the "
                "instances: the first must, so write numpy.moveaxis(values, -1, 0)"
            )
        if not rows:
            raise DataError(f"{self._where} has no instances: its first axis has the length 0")
        if rows < self._count:
            raise DataError(
                f"{self._where} has {rows} instances along its first axis, and count is "
                f"{self._count}: set count to {rows} or fewer"
            )

    def _require_axes(self, shape: tuple[int, ...]) -> None:
        """Refuse axes that are too many, too few or in another order."""
        variable, lengths = self._variable, self._lengths
        begin = f"{self._where} has the shape {shape} for an instance, and the parameter "
        begin += format_shape(lengths)
        if len(shape) == len(lengths) + 1 and not self._shared:
            raise DataError(
                f"{begin}: if the first of these axes is one of channels or times, take an entry "
                f'by names: {{{variable.name}: "{self._array.name}[0]"}}'
            )
        if len(shape) != len(lengths):
            raise DataError(f"{begin}: write an array with an axis for the instances and these")
        if variable.rank and shape != lengths and shape == (lengths[-1], *lengths[:-1]):
            raise DataError(
                f"{begin}: components come last, so write numpy.moveaxis(values, 1, -1)"
            )
        own = self._of_instance(self._array.axes)[: len(variable.axes)]
        if own != variable.axes and set(own) == set(variable.axes):
            raise DataError(
                f"{self._where} has its axes in the order {', '.join(own)}, and the parameter in "
                f"{', '.join(variable.axes)}: transpose it"
            )
        if shape != lengths and len(lengths) > 1 and shape == lengths[::-1]:
            raise DataError(f"{begin}: its axes are in the order {', '.join(variable.axes)}")
        for place, (found, wanted) in enumerate(zip(shape, lengths, strict=True)):
            on_grid = place < len(variable.axes) and variable.axes[place] in self._grid
            if found != wanted and not on_grid:
                raise DataError(f"{begin}: write as many values as the parameter has")

    def _resampling(self, shape: tuple[int, ...]) -> dict[int, Places]:
        """Return how the values come to the grid, if they are on another."""
        kind = self._settings.resample
        along = {}
        for place, (axis, length) in enumerate(zip(self._variable.axes, shape, strict=False)):
            if axis not in self._grid:
                continue
            wanted, there = self._grid[axis], self._line(axis, length)
            if len(there) == len(wanted) and _close(there, wanted):
                continue
            if kind == "none":
                same = "the same number of points, at other coordinates"
                points = f"{length} points, and the grid {len(wanted)}"
                raise DataError(
                    f"{self._where} has along {axis} "
                    f"{same if length == len(wanted) else points}: change `mesh`, or write "
                    "`instances: {file: ..., resample: linear}` (or nearest)"
                )
            try:
                low, high = self._ends[axis]
                period = high - low if axis in self._periodic else None
                along[place] = Places.of(axis, wanted, there, kind, period)
            except DataError as error:
                raise DataError(f"{self._where} cannot be resampled: {error}") from None
        return along

    def _line(self, axis: str, length: int) -> Array:
        """Return the coordinates of the file along an axis: equidistant if it does not say."""
        names = (axis, f"{axis}-coordinate", f"{axis}_{length}")
        for array in self._arrays.values():
            last = array.name.rpartition("/")[2]
            if last in names and array.shape == (length,) and array.dtype.kind in "iuf":
                return np.asarray(array.read((slice(None),)), np.float64)
        line = self._grid[axis]
        if length == len(line):
            return line
        low, high = self._ends[axis]
        if axis in self._centres:
            return low + (high - low) * (np.arange(length) + 0.5) / length
        # The grid leaves out the end of a periodic axis, and so does the file.
        return np.linspace(low, high, length, endpoint=axis not in self._periodic)


def _close(one: Array, other: Array) -> bool:
    return bool((np.abs(one - other) <= _ROUNDING * (other[-1] - other[0])).all())


def _plain_units(units: str) -> str:
    """Return units with one spelling of products, which are not prefixes: m s is no ms."""
    plain = re.sub(r"[\s*·]+", " ", units.replace("**", "^")).strip()
    plain = re.sub(r" ?([/()^]) ?", r"\1", plain)
    return "1" if plain.lower() in ("", "1", "-", "none", "dimensionless") else plain
