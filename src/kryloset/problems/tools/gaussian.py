# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a family that describe its Gaussian fields, and the fields that they describe.

A family declares `smoothness`, `length` and `modes` by the functions here, each with its own
default, and draws from `gaussian_field(settings, sides)`:

    class MySettings(Section):
        smoothness: float = smoothness_setting(2.0, "log k")
        length: float = length_setting(0.2, "log k")
        modes: int = modes_setting(16, "log k")
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from pydantic import Field

from kryloset.config import plain
from kryloset.errors import ConfigError
from kryloset.problems.base import AXES, Family
from kryloset.sampling import Boundary, GaussianField, Line, count_resolved

#: By boundary condition, from the points of an axis with both ends to the modes it resolves.
_MOST: Mapping[str, Callable[[int], int]] = {
    "neumann": lambda points: points - 1,
    "dirichlet": lambda points: points - 2,
    "periodic": lambda points: points // 2,
}


class GaussianSettings(Protocol):
    """Settings that describe Gaussian fields."""

    smoothness: float
    modes: int

    @property
    def length(self) -> float | tuple[float, ...]:
        """Correlation length, in sides of the unit square or cube."""


def smoothness_setting(default: float, fields: str, *, above: float = 1.0, note: str = "") -> Any:
    """Return the setting of the exponent α of the covariance.

    Args:
        default: Its default.
        fields: The fields that it describes, in words.
        above: Bound that the value must exceed: half the largest number of dimensions.
        note: Text to add to the description.
    """
    return Field(default, gt=above, le=10, description=f"Smoothness α of {fields}{note}.")


def length_setting(
    default: float, fields: str, *, unit: str = "sides of the square", most: float = 10
) -> Any:
    """Return the setting of the correlation length ℓ.

    Args:
        default: Its default.
        fields: The fields that it describes, in words.
        unit: The unit of length.
        most: Largest value.
    """
    described = f"Correlation length ℓ of {fields}, in {unit}."
    return Field(default, gt=0, le=most, description=described)


def modes_setting(default: int, fields: str, *, boundary: Boundary = "neumann") -> Any:
    """Return the setting of the number of modes along each axis.

    Args:
        default: Its default.
        fields: The fields that it describes, in words.
        boundary: The boundary condition of the fields; `dirichlet` if at least one has it.
    """
    most = "at most `mesh.points` - 2" if boundary == "dirichlet" else "less than `mesh.points`"
    return Field(
        default,
        ge=2,
        description=f"Modes of {fields} along each axis, {most}. On a finer grid an instance "
        "keeps its fields.",
    )


def gaussian_field(
    settings: GaussianSettings,
    sides: Sequence[float],
    *,
    deviation: float = 1.0,
    length: float | tuple[float, ...] | None = None,
    boundary: Boundary = "neumann",
    periodic: Sequence[str] = (),
) -> GaussianField:
    """Return the Gaussian field that settings describe.

    Args:
        settings: With `smoothness`, `length` and `modes`.
        sides: Lengths of the sides of the domain. The correlation length is in the same unit.
        deviation: Standard deviation, averaged over the domain.
        length: Correlation length, if it is not that of the settings.
        boundary: The boundary condition.
        periodic: Axes along which the field is periodic instead.
    """
    field = GaussianField(
        deviation=deviation,
        smoothness=settings.smoothness,
        length=settings.length if length is None else length,
        modes=settings.modes,
        dimension=len(sides),
        boundary=_across_axes(len(sides), boundary, periodic) if periodic else boundary,
    )
    if min(sides) == max(sides) == 1:
        return field
    lengths = zip(field.lengths, sides, strict=True)
    return replace(field, length=tuple(length / side for length, side in lengths))


def _across_axes(
    dimension: int, boundary: Boundary, periodic: Sequence[str]
) -> tuple[Boundary, ...]:
    """Return the boundary condition across each axis."""
    return tuple("periodic" if axis in periodic else boundary for axis in AXES[:dimension])


def require_resolved(
    family: Family, points: Sequence[Line], boundary: Boundary = "neumann"
) -> None:
    """Refuse a series with more modes along an axis than the grid resolves, if any is drawn.

    Args:
        family: The family, whose settings have the `modes` of its fields.
        points: Where the fields are drawn, along each axis. The widest spacing counts.
        boundary: The boundary condition of the fields.

    Raises:
        ConfigError: There are too many modes.
    """
    if all(v.name in family.given for v in family.parameters if v.axes):
        return
    modes, mesh = family.settings.modes, family.mesh
    across = _across_axes(len(points), boundary, mesh.periodic)
    most = min(_MOST[b](count_resolved([line])) for b, line in zip(across, points, strict=True))
    if modes > most:
        spaced = "" if mesh.spacing == "equidistant" else f" with spacing {plain(mesh.spacing)}"
        raise ConfigError(
            f"parameters.modes {modes} does not fit mesh.points {plain(mesh.points)}{spaced}: "
            f"take at most {most} modes or a finer grid"
        )
