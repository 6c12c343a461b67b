# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pictures of the variables of a family."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kryloset.problems import Family, Variable
from kryloset.problems.lattice import cell_centres_of, vertices_of
from kryloset.report.gallery import Pictures

type Array = NDArray[np.float64]


def pictured(family: Family) -> list[Variable]:
    """Return the variables that are functions on the whole grid or its cells, parameters first."""
    variables, whole = (*family.parameters, *family.fields), tuple(family.coordinates)
    return [v for v in variables if v.axes in (whole, tuple(cell_centres_of(family)) or whole)]


def plane(family: Family) -> Mapping[str, Array]:
    """Return the coordinates of a picture: the first two axes, or the only one."""
    return dict(list(family.coordinates.items())[:2])


def make_pictures(family: Family, variable: Variable, values: Array) -> list[Pictures]:
    """Return the pictures of a variable: the middle plane of a box, the magnitude of a vector.

    A trajectory has a row for each of its first, middle and last states.

    Args:
        family: The family.
        variable: One of `pictured`.
        values: Shape (instance, time, *grid, component), NaN outside the domain. Only fields of a
            family with times have the axis `time`, and only vectors the axis `component`.
    """
    label, computed = label_of(variable), variable in family.fields
    if variable.rank:
        values, label = np.linalg.norm(values, axis=-1), f"magnitude of {label}"
    if len(family.coordinates) == 3:
        values = values[..., values.shape[-1] // 2]
    states = {label: values}
    if computed and family.times is not None:
        last = len(family.times) - 1
        states = {
            f"{label}, time {family.times[n]:g}": values[:, n] for n in sorted({0, last // 2, last})
        }
    in_cells = variable.placement == "cells"
    vertices = tuple(vertices_of(family).values()) if in_cells else ()
    return [
        Pictures(state, shown, computed, variable.transform == "log", vertices)
        for state, shown in states.items()
    ]


def label_of(variable: Variable) -> str:
    """Return the long name of a variable, with its unit."""
    unit = "" if variable.units == "1" else f" [{variable.units}]"
    return f"{variable.long_name} {variable.name}{unit}"
