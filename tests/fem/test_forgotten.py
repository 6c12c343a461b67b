# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A parameter that changes no solution is refused, unless it is declared descriptive."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import ufl
from ufl import dx, grad, inner

from kryloset.config import MeshConfig, Section
from kryloset.errors import DataError, FamilyError
from kryloset.fem.discretise import discretise
from kryloset.problems import (
    Dirichlet,
    EvolutionFamily,
    NonlinearFamily,
    NonlinearForm,
    SteadyFamily,
    Variable,
    WeakForm,
)

B = Variable("b", "b", dimensions=())
NUMBERS: dict[str, Any] = {"b": np.float64(1.0), "c": np.float64(2.0)}


class Steady(SteadyFamily):
    """-lap u = c, in which b is forgotten."""

    parameters: tuple[Variable, ...] = (B, Variable("c", "c", dimensions=()))
    fields = (Variable("u", "u"),)

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw two numbers."""
        return NUMBERS

    def weak_form(self, space: Any, parameters: Any, *_: Any) -> WeakForm:
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(inner(grad(u), grad(v)) * dx, parameters["c"] * v * dx)


class InTheForm(Steady):
    """-lap u + b u = c."""

    def weak_form(self, space: Any, parameters: Any, *_: Any) -> WeakForm:
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        weak = super().weak_form(space, parameters)
        return weak._replace(a=weak.a + parameters["b"] * u * v * dx)


class Prescribed(Steady):
    """-lap u = c, u = b on the boundary."""

    def weak_form(self, space: Any, parameters: Any, *_: Any) -> WeakForm:
        """Return the forms."""
        return super().weak_form(space, parameters)._replace(boundary=(Dirichlet(parameters["b"]),))


class Refused(Steady):
    """b decides whether there is a solution."""

    def check_instance(self, instance: Any) -> None:
        """Refuse all."""
        if instance["b"] > 0:
            raise DataError("b is positive")


class Moving(EvolutionFamily):
    """u_t = c, from 0."""

    parameters, fields = Steady.parameters, Steady.fields
    times = np.array([0.0, 1.0])  # type: ignore[assignment]
    draw = Steady.draw

    def initial_state(self, instance: Any) -> dict[str, Any]:
        """Return zeros."""
        return {"u": np.zeros((3, 3))}

    def weak_form(self, space: Any, parameters: Any, step: Any) -> WeakForm:
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(u * v * dx, (step.previous[0] + parameters["c"]) * v * dx)


class Started(Moving):
    """u_t = c, from b."""

    def initial_state(self, instance: Any) -> dict[str, Any]:
        """Return b everywhere."""
        return {"u": np.full((3, 3), {**instance}["b"])}


class Nonlinear(NonlinearFamily):
    """-lap u + u^3 = c."""

    parameters, fields = Steady.parameters, Steady.fields
    draw = Steady.draw

    def weak_form(self, space: Any, parameters: Any, u: Any) -> NonlinearForm:
        """Return the form."""
        v = ufl.TestFunction(space)
        return NonlinearForm((inner(grad(u), grad(v)) + (u**3 - parameters["c"]) * v) * dx)


def of_the_stages(base: Any, **attributes: Any) -> Any:
    kind = type("Own", (base,), {"__module__": __name__, **attributes})
    return discretise(kind(Section(), MeshConfig(points=3)), MPI.COMM_SELF)


@pytest.mark.parametrize("base", [Steady, Moving, Nonlinear])
def test_a_forgotten_parameter_is_named(base: Any) -> None:
    with pytest.raises(
        FamilyError, match=r"test_forgotten.py:Own: b is drawn but changes no solution"
    ):
        of_the_stages(base)


@pytest.mark.parametrize("base", [InTheForm, Prescribed, Refused, Started])
def test_a_parameter_that_is_read_passes(base: Any) -> None:
    of_the_stages(base)


@pytest.mark.parametrize("word", ["descriptive", "fixed"])
def test_a_descriptive_parameter_is_accepted(word: str) -> None:
    declared: Any = {word: True}
    b = Variable("b", "b", dimensions=(), **declared)
    of_the_stages(Steady, parameters=(b, Steady.parameters[1]))
    assert not b.compared and B.compared
