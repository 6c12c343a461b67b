# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An operator that does not determine a constant is refused before it is solved."""

from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
import ufl
from ufl import div, dx, grad, inner

from directly import solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import FamilyError
from kryloset.problems import (
    Dirichlet,
    NonlinearFamily,
    NonlinearForm,
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
    degrees_of_freedom,
)

V, P = Variable("v", "v", rank=1), Variable("p", "p")


class Insulated(SteadyFamily):
    """-div(k grad u) = 1 - mean, without conditions on u unless a test adds one."""

    parameters: tuple[Variable, ...] = (Variable("k", "k", dimensions=()),)
    fields: tuple[Variable, ...] = (Variable("u", "u"),)
    operator = OperatorTraits(symmetric=True)
    boundary: tuple[Dirichlet, ...] = ()
    robin = 0.0

    def draw(self, generator: Any) -> dict[str, Any]:
        """Return a small number, since the test for zero is relative."""
        return {"k": np.float64(1e-9)}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        ones = ufl.as_vector(u.ufl_shape[0] * [1.0]) if u.ufl_shape else 1.0
        a = parameters["k"] * inner(grad(u), grad(v)) * dx
        if self.robin:
            a += self.robin * inner(u, v) * ufl.ds
        return WeakForm(a, inner(ones, v) * dx, self.boundary)


class Flow(Insulated):
    """Stokes' equations, whose pressure is not determined."""

    fields = (V, P)
    unknowns = (degrees_of_freedom(V), degrees_of_freedom(P))
    boundary = (Dirichlet(part=0),)

    def make_element(self, cell: str) -> Any:
        """Return Taylor and Hood's element."""
        velocity = basix.ufl.element("Lagrange", cell, 2, shape=(2,))
        return basix.ufl.mixed_element([velocity, basix.ufl.element("Lagrange", cell, 1)])

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the forms."""
        (u, p), (v, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
        a = (parameters["k"] * inner(grad(u), grad(v)) - p * div(v) - q * div(u)) * dx
        return WeakForm(a, v[0] * dx, self.boundary)


class Nonlinear(NonlinearFamily):
    """The same by Newton's method."""

    parameters = Insulated.parameters
    fields: tuple[Variable, ...] = (Variable("u", "u"),)
    draw = Insulated.draw
    boundary: tuple[Dirichlet, ...] = ()

    def weak_form(self, space: Any, parameters: Any, u: Any) -> NonlinearForm:
        """Return the form."""
        v = ufl.TestFunction(space)
        return NonlinearForm((parameters["k"] * inner(grad(u), grad(v)) - v) * dx, self.boundary)


def solve(base: Any, **attributes: Any) -> Any:
    kind = type("Own", (base,), {"__module__": __name__, **attributes})
    family = kind(Section(), MeshConfig(points=5))
    return family.discretise(MPI.COMM_SELF).solve([family.draw(None)], solve_directly)[0]


def corner(x: Any) -> Any:
    return np.isclose(x[0], 0) & np.isclose(x[1], 0)


@pytest.mark.parametrize(
    ("base", "attributes", "open_field"),
    [
        (Insulated, {}, "u"),
        (Insulated, {"fields": (V,)}, "v"),
        (Insulated, {"fields": (V,), "boundary": (Dirichlet(component=0),)}, "v"),
        (Flow, {}, "p"),
        (Nonlinear, {}, "u"),
    ],
)
def test_a_field_that_no_condition_fixes_is_named(
    base: Any, attributes: Any, open_field: str
) -> None:
    message = rf"test_nullspace.py:Own: nothing fixes {open_field}.* forget a Dirichlet condition"
    with pytest.raises(FamilyError, match=message):
        solve(base, **attributes)


@pytest.mark.parametrize(
    ("base", "attributes"),
    [
        (Insulated, {"boundary": (Dirichlet(),)}),
        (Insulated, {"boundary": (Dirichlet(where=corner, nodal=True),)}),
        (Insulated, {"robin": 1e-12}),
        (Insulated, {"fields": (V,), "boundary": (Dirichlet(where=corner, nodal=True),)}),
        (Insulated, {"operator": OperatorTraits(symmetric=True, nullspace="constants")}),
        (Flow, {"boundary": (Dirichlet(part=0), Dirichlet(0.0, corner, part=1, nodal=True))}),
        (Nonlinear, {"boundary": (Dirichlet(),)}),
    ],
)
def test_a_determined_field_is_accepted(base: Any, attributes: Any) -> None:
    assert all(np.isfinite(values).all() for values in solve(base, **attributes).values())


def test_a_declared_null_space_that_is_missing_is_refused() -> None:
    singular = OperatorTraits(symmetric=True, nullspace="constants")
    with pytest.raises(FamilyError, match="does not map constants to zero"):
        solve(Insulated, operator=singular, boundary=(Dirichlet(),))
