# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arrays that no file can hold are refused before anything is solved."""

from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
import ufl

from directly import solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import FamilyError
from kryloset.problems import Family, SteadyFamily, Variable, WeakForm, degrees_of_freedom
from kryloset.problems.checks.stored import check_resampled, check_stored

U = Variable("u", "u")


class Plain(SteadyFamily):
    """u = c, for any declaration of u."""

    parameters: tuple[Variable, ...] = (Variable("c", "c", dimensions=()),)
    fields: tuple[Variable, ...] = (U,)
    element: Any = None

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw nothing."""
        raise NotImplementedError

    def make_element(self, cell: str) -> Any:
        """Return the element of the test."""
        return self.element or super().make_element(cell)

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return a projection."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        one = ufl.as_vector(u.ufl_shape[0] * [1.0]) if u.ufl_shape else 1.0
        right = parameters["c"] * ufl.inner(one, v)
        return WeakForm(ufl.inner(u, v) * ufl.dx, right * ufl.dx, boundary=())


def lagrange(degree: int, shape: tuple[int, ...] | None = None) -> Any:
    return basix.ufl.element("Lagrange", "triangle", degree, shape=shape)


V = Variable("v", "v", rank=1)
DECLARED: dict[str, tuple[dict[str, Any], str]] = {
    "degrees of freedom of the second field": (
        {"fields": (U, Variable("w", "w")), "unknowns": (degrees_of_freedom(Variable("w", "w")),)},
        "w_dofs is declared but the solution has only u, w",
    ),
    "no degrees of freedom": (
        {"element": lagrange(2)},
        r"u are not at the points of the grid: add degrees_of_freedom\(u\)",
    ),
    "an unknown that nothing is": (
        {"unknowns": (Variable("error", "error", dimensions=("cell",)),)},
        "error is declared but the solution has only u",
    ),
    "a field along one axis": (
        {"fields": (Variable("u", "u", dimensions=("x",)),)},
        r"field u has the dimensions \('x',\)",
    ),
    "a scalar with two components": (
        {"element": lagrange(1, (2,))},
        "element of u has 2 components instead of 1",
    ),
    "a vector with one": (
        {"fields": (V,), "element": lagrange(1)},
        "element of v has 1 components instead of 2",
    ),
    "a part without a field": (
        {"element": basix.ufl.mixed_element([lagrange(1), lagrange(1)])},
        "make_element has 2 parts, but `fields` are u",
    ),
    "degrees of freedom of another rank": (
        {
            "fields": (V,),
            "element": lagrange(2, (2,)),
            "unknowns": (Variable("v_dofs", "v_dofs", dimensions=("v_dof",)),),
        },
        r"v_dofs of the solution has the shape \(81, 2\) but its Variable has \(any,\)",
    ),
}


@pytest.mark.parametrize("case", DECLARED)
def test_fields_that_do_not_fit_the_space_are_refused(case: str) -> None:
    attributes, message = DECLARED[case]
    family = type("Own", (Plain,), attributes | {"__module__": __name__})(
        Section(), MeshConfig(points=5)
    )
    with pytest.raises(FamilyError, match=rf"test_stored.py:Own: .*{message}"):
        family.discretise(MPI.COMM_SELF)


def test_degrees_of_freedom_that_happen_to_be_on_the_grid_are_stored_too() -> None:
    attributes = {"unknowns": (degrees_of_freedom(U),), "__module__": __name__}
    family = type("Own", (Plain,), attributes)(Section(), MeshConfig(points=5))
    solution = family.discretise(MPI.COMM_SELF).solve([{"c": np.float64(2.0)}], solve_directly)[0]
    assert np.array_equal(solution["u"].ravel(), solution["u_dofs"])
    np.testing.assert_allclose(solution["u"], 2.0, rtol=1e-12)


class Any2D(Family):
    """A family with its own discretisation, whose arrays are known after the first solve."""

    parameters = (Variable("k", "k"),)
    fields = (U, V)
    unknowns = (Variable("cells", "cells", dimensions=("cell", "node")),)

    @property
    def coordinates(self) -> dict[str, Any]:
        """Return a grid of 3 x 4."""
        return {"x": np.arange(3.0), "y": np.arange(4.0)}

    draw = discretise = lambda *_: None  # type: ignore[assignment]


FOUND = {"u": np.ones((3, 4)), "v": np.ones((3, 4, 2)), "cells": np.ones((7, 3), int)}


def test_arrays_of_the_right_shapes_pass() -> None:
    family = Any2D(Section(), MeshConfig(points=3))
    check_stored(family, FOUND)
    check_resampled(family, 5, {"u": np.ones((5, 5)), "v": np.ones((5, 5, 2))})
    family.__class__ = type("Moving", (Any2D,), {"times": np.arange(2.0)})
    check_stored(family, {name: np.stack([a, a]) for name, a in FOUND.items()})
    check_stored(family, FOUND, one_state=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.ones((4, 3))}, r"u of the solution has the shape \(4, 3\) .*\(3, 4\)"),
        ({"v": np.ones((3, 4))}, r"v of the solution has .* its Variable has \(3, 4, 2\)"),
        ({"u": 1j * np.ones((3, 4))}, "u of the solution has the type complex128"),
        ({"u": np.full((3, 4), "a")}, "u of the solution has the type <U1"),
        ({"more": np.ones(3)}, "the solution has more, which the family does not declare"),
        ({"cells": np.ones(3)}, r"cells of the solution has .* its Variable has \(any, any\)"),
    ],
)
def test_arrays_that_do_not_fit_the_variables_are_refused(
    change: dict[str, Any], message: str
) -> None:
    family = Any2D(Section(), MeshConfig(points=3))
    with pytest.raises(FamilyError, match=message):
        check_stored(family, FOUND | change)
    with pytest.raises(FamilyError, match="grid of 5 points: v is declared"):
        check_resampled(family, 5, {"u": np.ones((5, 5))})
