# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draws an instance from (seed, index) and checks it: real, finite numbers in the right shapes.

The stage that draws and the check that draws again both use it, so that neither stores or accepts
what the other would refuse.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kryloset.errors import DataError, FamilyError
from kryloset.problems.base import Array, Family, Variable, differing_axis, fits, format_shape
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.sampling import generator

#: What an array holds that has no real numbers, and what to do, by NumPy's kind of its type.
_KINDS = {
    "c": "complex numbers: declare the real and the imaginary part as two parameters",
    "O": "Python objects: return an array of numbers, each row as long as the others",
    "U": "text: number the cases, and say in `long_name` which is which",
    "S": "bytes: return numbers",
    "M": "dates: return numbers, such as seconds",
    "m": "durations: return numbers, such as seconds",
    "V": "records: make each of their fields a parameter",
}

#: Instances that are drawn to find an example, some of which may not be valid.
_TRIED = 8


class Drawing:
    """Draws the instances of a family, each from (seed, index) alone."""

    def __init__(self, family: Family) -> None:
        """Take the shapes from the grid. Along other axes the first instance sets the lengths.

        Args:
            family: The family.
        """
        self._family = family
        self._coordinates = family.coordinates
        self._where = f"`draw` of {describe_class(family)}"
        self._lengths = {v.name: v.lengths(self._coordinates) for v in family.parameters}

    def __call__(self, seed: int, index: int) -> dict[str, Array]:
        """Draw an instance.

        Args:
            seed: Seed of the dataset.
            index: Number of the instance.

        Returns:
            Its parameters by name, in the family's order, float64.

        Raises:
            DataError: What was drawn is not a valid instance, or is not finite.
            FamilyError: `draw` raised an exception, or did not return exactly the family's
                parameters as real numbers in their shapes.
        """
        family = self._family
        try:
            with blamed(family, "draw", doing=f"instance {index}"):
                drawn = family.draw(generator(seed, index))
        except DataError as error:
            raise DataError(f"instance {index}: {error}") from error
        where = f"instance {index}: {self._where}"
        self._require_names(where, drawn)
        instance = {v.name: self._read(where, v, drawn[v.name]) for v in family.parameters}
        shapes = {v: instance[v.name].shape for v in family.parameters}
        axis = differing_axis(shapes, self._coordinates)
        if axis:
            raise FamilyError(
                f"{where}: parameters share the axis {axis!r} but have different lengths along it: "
                "give each an axis of its own"
            )
        return instance

    def _require_names(self, where: str, drawn: Any) -> None:
        names = [variable.name for variable in self._family.parameters]
        if not isinstance(drawn, Mapping):
            returned = "nothing" if drawn is None else f"a {type(drawn).__name__}"
            keys = ", ".join(f'"{name}": ...' for name in names)
            raise FamilyError(f"{where} returned {returned}: end it with `return {{{keys}}}`")
        for name in names:
            if name not in drawn:
                raise FamilyError(f"{where} did not return {name!r}, which is in its `parameters`")
        for name in drawn:
            if name not in names:
                raise FamilyError(
                    f"{where} returned {name!r}, which is not in its `parameters`: add a "
                    "Variable for it, or do not return it"
                )

    def _read(self, where: str, variable: Variable, drawn: Any) -> Array:
        """Return a parameter as float64, if that loses nothing."""
        named = f"{where}: parameter {variable.name!r}"
        values = _to_numbers(named, drawn)
        if not np.isfinite(values).all():
            raise DataError(f"{named} is not finite: correct `draw` or its settings")
        if variable.transform == "log" and not (values > 0).all():
            raise DataError(
                f"{named} ({variable.long_name}) has the value {values.min():g} and must be "
                "positive everywhere, because its transform is log: correct `draw` or its settings"
            )
        lengths = self._lengths[variable.name]
        if not fits(values.shape, lengths):
            given = variable.lengths(self._coordinates)
            source = "its Variable has" if lengths == given else "earlier instances have"
            raise FamilyError(
                f"{named} has the shape {values.shape} but {source} {format_shape(lengths)}: "
                "correct `draw`, or the `dimensions` and `rank` of the Variable"
            )
        self._lengths[variable.name] = values.shape
        return values


def _to_numbers(named: str, drawn: Any) -> Array:
    # Only a masked array has a mask, and NumPy's module for them takes long to load.
    if hasattr(drawn, "mask") and np.ma.is_masked(drawn):
        raise FamilyError(f"{named} is a masked array: return numbers everywhere")
    try:
        values = np.asarray(drawn)
    except Exception as error:
        raise FamilyError(f"{named} cannot be made an array: {error}") from error
    if values.dtype.kind not in "biuf":
        what = _KINDS.get(values.dtype.kind, f"values of the type {values.dtype}: return numbers")
        raise FamilyError(f"{named} holds {what}")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float64)
    if values.dtype.kind in "iu":
        # float64 holds every integer up to 2^53, and of larger ones only some.
        lost = (values > 2**53) | (values < -(2**53))
        if lost.any():
            raise FamilyError(
                f"{named} has the integer {values[lost].flat[0]}, beyond 2^53, where float64 "
                "cannot represent every integer: return floats, or smaller integers"
            )
    return numbers


def draw_example(family: Family) -> dict[str, Array]:
    """Return an instance of a family, which shows the shapes of its parameters.

    Raises:
        DataError: None of the first few is a valid instance.
        FamilyError: As `Drawing`.
    """
    draw = Drawing(family)
    for index in range(_TRIED):
        try:
            return draw(0, index)
        except DataError:
            continue
    return draw(0, _TRIED)
