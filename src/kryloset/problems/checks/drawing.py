# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draws an instance from (seed, index) and checks it: real, finite numbers in the right shapes.

Parameters that a file gives are checked likewise. The stage that draws and the check that draws
again both use it, so that neither stores or accepts what the other would refuse.
"""

import math
from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from kryloset.config import Precision
from kryloset.errors import DataError, FamilyError
from kryloset.problems.base import Array, Family, Instance, Variable
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.checks.shapes import differing_axis, fits, format_shape
from kryloset.problems.lattice import cell_centres_of
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


class Given(Protocol):
    """Parameters of numbered instances that are not drawn."""

    @property
    def names(self) -> Collection[str]:
        """Names of these parameters."""

    @property
    def told(self) -> str:
        """What a check of these parameters says of all of them, after their names."""

    def row(self, index: int) -> Mapping[str, Any]:
        """Return the values of an instance by name."""

    def place(self, name: str, index: int) -> str:
        """Return where the values of an instance are, in words."""


class Drawing:
    """Draws the instances of a family, each from (seed, index) alone.

    The index of an instance is its number, but for those of a shifted distribution.
    """

    def __init__(
        self,
        family: Family,
        given: Given | None = None,
        attempts: Mapping[int, int] = MappingProxyType({}),
        precision: Precision = "float64",
        first: int = 0,
        shift: str = "",
    ) -> None:
        """Take the shapes from the grid. Along other axes the first instance sets the lengths.

        Args:
            family: The family.
            given: The parameters that are not drawn; None if all are.
            attempts: How often instances were drawn before and failed, by their numbers.
            precision: The type to whose values parameters are rounded.
            first: Number of the first instance of their distribution, whose index is 0.
            shift: Name of that distribution, if it is a shifted one.
        """
        self.precision = precision
        self._first, self._shift = first, shift
        self._family = family
        self._given = given
        self._attempts = attempts
        self._numbered = "index" in signature(family.draw).parameters
        self._coordinates, self._centres = family.coordinates, cell_centres_of(family)
        self._where = f"`draw` of {describe_class(family)}"
        self._lengths = {v.name: self._lengths_of(v) for v in family.parameters}

    def __call__(self, seed: int, index: int) -> dict[str, Array]:
        """Draw an instance.

        Args:
            seed: Seed of the dataset.
            index: Number of the instance.

        Returns:
            Its parameters by name, in the family's order, float64, with values of `precision`.

        Raises:
            DataError: What was drawn or given is not a valid instance, or is not finite.
            FamilyError: `draw` raised an exception, or did not return exactly the family's
                parameters as real numbers in their shapes.
        """
        given = {} if self._given is None else self._given.row(index)
        rest = [v.name for v in self._family.parameters if v.name not in given]
        drawn = self._draw(seed, index) if rest else {}
        instance = {
            v.name: self._read_given(index, v, given[v.name])
            if v.name in given
            else self._read_drawn(index, v, drawn[v.name])
            for v in self._family.parameters
        }
        shapes = {v: instance[v.name].shape for v in self._family.parameters}
        axis = differing_axis(shapes, self._coordinates)
        if axis:
            raise FamilyError(
                f"instance {index}: {self._where}: parameters share the axis {axis!r} but have "
                "different lengths along it: give each an axis of its own"
            )
        if given:
            self._check_instance(index, instance)
        return instance

    def _lengths_of(self, variable: Variable) -> tuple[int | None, ...]:
        return variable.lengths(self._coordinates, self._centres)

    def _check_instance(self, index: int, instance: Instance) -> None:
        """Refuse given parameters that the equation does not admit; `draw` looks to its own.

        Raises:
            DataError: They do not describe an instance.
        """
        # Families without a weak form have no such method.
        check = getattr(self._family, "check_instance", None)
        if check is None:
            return
        try:
            with blamed(self._family, "check_instance", doing=f"instance {index}"):
                check(instance)
        except DataError as error:
            raise DataError(f"instance {index}: {error}") from error

    def _draw(self, seed: int, index: int) -> Mapping[str, Any]:
        """Return what the family draws: a value for each of its parameters."""
        draw: Callable[..., Any] = self._family.draw
        place = index - self._first
        number = {"index": place} if self._numbered else {}
        try:
            with blamed(self._family, "draw", doing=f"instance {index}"):
                attempt = self._attempts.get(index, 0)
                drawn = draw(generator(seed, place, attempt, self._shift), **number)
        except DataError as error:
            raise DataError(f"instance {index}: {error}") from error
        return self._require_names(f"instance {index}: {self._where}", drawn)

    def _require_names(self, where: str, drawn: Any) -> Mapping[str, Any]:
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
        return drawn

    def _read_drawn(self, index: int, variable: Variable, drawn: Any) -> Array:
        """Return a drawn parameter as float64, if that loses nothing."""
        named = f"instance {index}: {self._where}: parameter {variable.name!r}"
        values = _to_numbers(named, drawn, self.precision)
        _require_admissible(named, variable, values, "correct `draw` or its settings")
        lengths = self._lengths[variable.name]
        if not fits(values.shape, lengths):
            given = self._lengths_of(variable)
            source = "its Variable has" if lengths == given else "earlier instances have"
            raise FamilyError(
                f"{named} has the shape {values.shape} but {source} {format_shape(lengths)}: "
                "correct `draw`, or the `dimensions` and `rank` of the Variable"
            )
        self._lengths[variable.name] = values.shape
        return values

    def _read_given(self, index: int, variable: Variable, found: Any) -> Array:
        """Return a given parameter as float64, if that loses nothing."""
        assert self._given is not None
        place = self._given.place(variable.name, index)
        named = f"instance {index}: parameter {variable.name!r}, {place},"
        values = _to_numbers(named, found, self.precision)
        _require_admissible(named, variable, values, "correct it, or leave the instance out")
        lengths = self._lengths[variable.name]
        if not fits(values.shape, lengths):
            raise DataError(
                f"{named} has the shape {values.shape}, and {format_shape(lengths)} is expected"
            )
        self._lengths[variable.name] = values.shape
        return values


def _require_admissible(named: str, variable: Variable, values: Array, remedy: str) -> None:
    """Refuse values that are not finite, or not positive though their logarithm is to be taken.

    Raises:
        DataError: There are any.
    """
    if not values.size:
        return
    # Both are NaN if a value is, and no array is made.
    least, largest = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise DataError(f"{named} is not finite: {remedy}")
    if variable.transform == "log" and not least > 0:
        raise DataError(
            f"{named} ({variable.long_name}) has the value {least:g} and must be "
            f"positive everywhere, because its transform is log: {remedy}"
        )


def _to_numbers(named: str, drawn: Any, precision: Precision) -> Array:
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
    if values.dtype == np.float64:
        # The family may go on with what it returned.
        numbers = values.copy()
    else:
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
    return numbers if precision == "float64" else _rounded(named, numbers)


def _rounded(named: str, values: Array) -> Array:
    """Return values of float32, as float64."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    lost = np.isfinite(values) & (~np.isfinite(rounded) | ((rounded == 0) & (values != 0)))
    if lost.any():
        raise DataError(
            f"{named} has the value {values[lost].flat[0]:g}, which float32 does not have: use "
            "other units, or set storage.precision to float64"
        )
    return rounded


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
