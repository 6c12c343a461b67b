# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Invalid forms and conditions are refused with a message; some would crash the process in C."""

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from ufl import dx, grad, inner

from directly import solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import FamilyError
from kryloset.problems import (
    Dirichlet,
    EvolutionFamily,
    NonlinearFamily,
    NonlinearForm,
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
)

PARAMETERS = (Variable("f", "f"), Variable("c", "c", dimensions=("term",)))
DRAWN = {"f": np.ones((5, 5)), "c": np.array([1.0, 2.0, 4.0])}


class Own(SteadyFamily):
    """A family whose form a test chooses."""

    parameters: tuple[Variable, ...] = PARAMETERS
    fields: tuple[Variable, ...] = (Variable("u", "u"),)
    operator = OperatorTraits(symmetric=True)
    form: Callable[..., Any]

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw ones, and three numbers with an axis of their own."""
        return DRAWN

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Return the form of the test."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return type(self).form(space, parameters, u, v)


def discretise(form: Callable[..., Any], base: Any = Own, **attributes: Any) -> Any:
    kind = type("Own", (base,), {"__module__": __name__, "form": form, **attributes})
    return kind(Section(), MeshConfig(points=5)).discretise(MPI.COMM_SELF)


def energy(u: Any, v: Any) -> Any:
    return inner(grad(u), grad(v)) * dx


def other_mesh() -> mesh.Mesh:
    return mesh.create_unit_square(MPI.COMM_SELF, 9, 9)


def space_of(domain: mesh.Mesh, degree: int = 1) -> fem.FunctionSpace:
    return fem.functionspace(domain, ("Lagrange", degree))


def copy_of(function: fem.Function) -> fem.Function:
    copy = fem.Function(function.function_space)
    copy.interpolate(function)
    return copy


def tags_of(domain: mesh.Mesh, dimension: int, value: int = 1) -> mesh.MeshTags:
    domain.topology.create_entities(dimension)
    count = domain.topology.index_map(dimension).size_local
    return mesh.meshtags(domain, dimension, np.arange(count), np.full(count, value, np.int32))


def over(measure: str, domain: mesh.Mesh, tags: Any) -> Any:
    return ufl.Measure(measure, domain=domain, subdomain_data=tags)


def quadratic(space: Any) -> tuple[Any, Any]:
    other = space_of(space.mesh, 2)
    return ufl.TrialFunction(other), ufl.TestFunction(other)


FORMS: dict[str, tuple[Callable[..., Any], str]] = {
    "trial function in L": (
        lambda s, p, u, v: WeakForm(energy(u, v), p["f"] * u * v * dx),
        "form L has a TrialFunction: move the terms that have one to `a`",
    ),
    "no trial function": (
        lambda s, p, u, v: WeakForm(p["f"] * v * dx, v * dx),
        "form a has no TrialFunction",
    ),
    "no test function": (
        lambda s, p, u, v: WeakForm(energy(u, v), p["f"] * dx),
        "form L has no TestFunction",
    ),
    "a Function for the trial function": (
        lambda s, p, u, v: WeakForm(energy(fem.Function(s), v), v * dx),
        "form a has no TrialFunction",
    ),
    "test function of another space": (
        lambda s, p, u, v: WeakForm(energy(u, quadratic(s)[1]), v * dx),
        "form a: its TestFunction is on another space",
    ),
    "both of another space": (
        lambda s, p, u, v: WeakForm(energy(*quadratic(s)), v * dx),
        "form a: its TestFunction is on another space",
    ),
    "L of another space": (
        lambda s, p, u, v: WeakForm(energy(u, v), quadratic(s)[1] * dx),
        "form L: its TestFunction is on another space",
    ),
    "no measure": (
        lambda s, p, u, v: WeakForm(inner(grad(u), grad(v)), v * dx),
        "form a has no measure: multiply the integrand by ufl.dx",
    ),
    "zero": (lambda s, p, u, v: WeakForm(energy(u, v), 0), "form L is 0: write fem.Constant"),
    "a term that is zero": (
        lambda s, p, u, v: WeakForm(energy(u, v), 0.0 * v * dx),
        r"line \d+ of test_form_checks.py: .*a term that is the number 0 has none: leave it out",
    ),
    "a tuple": (lambda s, p, u, v: (energy(u, v), v * dx), r"tuple: return WeakForm\(a, L\)"),
    "nothing": (lambda s, p, u, v: None, r"returned nothing: return WeakForm\(a, L\)"),
    "a product of unknowns": (
        lambda s, p, u, v: WeakForm(u * u * v * dx, v * dx),
        "form a is not linear in its arguments",
    ),
    "a term without the unknown": (
        lambda s, p, u, v: WeakForm((u + 1) * v * dx, v * dx),
        "form a is not linear in its arguments",
    ),
    "a parameter that is not there": (
        lambda s, p, u, v: WeakForm(energy(u, v), p["g"] * v * dx),
        r"line \d+ of test_form_checks.py: KeyError: there is no parameter 'g': .* has f, c",
    ),
    "a component that is not there": (
        lambda s, p, u, v: WeakForm(energy(u, v), p["c"][3] * v * dx),
        r"line \d+ of test_form_checks.py: ",
    ),
    "a tensor": (lambda s, p, u, v: WeakForm(energy(u, v), grad(v) * dx), r"line \d+ of test_f"),
    "a Function on another mesh": (
        lambda s, p, u, v: WeakForm(
            energy(u, v), fem.Function(space_of(other_mesh())) * v * dx(domain=s.mesh)
        ),
        "form L has a Function on another mesh",
    ),
    "a complex number": (
        lambda s, p, u, v: WeakForm(energy(u, v), 1j * v * dx), "form L has a complex number",
    ),
    "a complex Constant": (
        lambda s, p, u, v: WeakForm(energy(u, v), fem.Constant(s.mesh, 1j) * v * dx),
        "form L has a Constant of the type complex128",
    ),
    "a short Constant": (
        lambda s, p, u, v: WeakForm(energy(u, v), fem.Constant(s.mesh, np.float32(1)) * v * dx),
        "form L has a Constant of the type float32",
    ),
    "a Constant that is no number": (
        lambda s, p, u, v: WeakForm(energy(u, v), fem.Constant(s.mesh, np.nan) * v * dx),
        "form L has a Constant that is not finite",
    ),
    "a copy of a parameter": (
        lambda s, p, u, v: WeakForm(energy(u, v), copy_of(p["f"]) * v * dx),
        "form L has a Function that is not finite.* use the parameter itself",
    ),
    "a copy of a number": (
        lambda s, p, u, v: WeakForm(energy(u, v), fem.Constant(s.mesh, p["c"].value[0]) * v * dx),
        "form L has a Constant that is not finite.* use the parameter itself",
    ),
    "a number that is none": (
        lambda s, p, u, v: WeakForm(energy(u, v), float("nan") * v * dx),
        "form L has the number nan",
    ),
    "a Coefficient": (
        lambda s, p, u, v: WeakForm(energy(u, v), ufl.Coefficient(s) * v * dx),
        "form L has a Coefficient of UFL without values",
    ),
    "a Constant of UFL": (
        lambda s, p, u, v: WeakForm(energy(u, v), ufl.Constant(s.mesh) * v * dx),
        "form L has a Constant of UFL without a value",
    ),
    "a normal inside": (
        lambda s, p, u, v: WeakForm(energy(u, v), ufl.FacetNormal(s.mesh)[0] * v * dx),
        "ValueError: Integral of type cell cannot contain a ReferenceNormal",
    ),
    "a part without tags": (
        lambda s, p, u, v: WeakForm(energy(u, v), v * dx + v * ufl.ds(1)),
        r"form L: ds\(1\) has no tags that mark part 1",
    ),
    "a tag of nothing": (
        lambda s, p, u, v: WeakForm(energy(u, v), v * over("ds", s.mesh, tags_of(s.mesh, 1))(7)),
        r"form L: ds\(7\): nothing has the tag 7, .* The tags are 1",
    ),
    "tags of cells for facets": (
        lambda s, p, u, v: WeakForm(energy(u, v), v * over("ds", s.mesh, tags_of(s.mesh, 2))(1)),
        r"form L: ds\(1\) has tags of entities of dimension 2 and needs 1",
    ),
    "tags of another mesh": (
        lambda s, p, u, v: WeakForm(
            energy(u, v), v * over("dx", s.mesh, tags_of(other_mesh(), 2))(1)
        ),
        r"form L: dx\(1\) has tags of another mesh",
    ),
    "two sets of tags": (
        lambda s, p, u, v: WeakForm(
            energy(u, v),
            v * over("ds", s.mesh, tags_of(s.mesh, 1))(1)
            + v * over("ds", s.mesh, tags_of(s.mesh, 1, 2))(2),
        ),
        "form L has two sets of tags for ds",
    ),
    "an array for tags": (
        lambda s, p, u, v: WeakForm(energy(u, v), v * over("ds", s.mesh, [(1, np.arange(9))])(1)),
        r"form L: ds\(1\) has subdomain_data of the type list",
    ),
    "vertices": (
        lambda s, p, u, v: WeakForm(energy(u, v), v * ufl.dP), "form L integrates over a vertex",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_invalid_forms_are_refused_before_compilation(case: str) -> None:
    form, message = FORMS[case]
    with pytest.raises(FamilyError, match=rf"test_form_checks.py:Own, weak_form.*{message}"):
        discretise(form)


def conditions(*prescribed: Any) -> Callable[..., Any]:
    return lambda s, p, u, v: WeakForm(inner(u, v) * dx, inner(u * 0 + u, v) * dx, prescribed)


def function_on(domain: Any, shape: tuple[int, ...] = ()) -> fem.Function:
    return fem.Function(fem.functionspace(domain, ("Lagrange", 1, shape)))


BOUNDARIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "without a tuple": (lambda m: Dirichlet(), "`boundary` is a Dirichlet and must be a tuple"),
    "nothing": (lambda m: None, "`boundary` is a NoneType"),
    "of DOLFINx": (lambda m: (3,), "condition 1 is a int: use kryloset.problems.Dirichlet"),
    "part of a space without": (lambda m: (Dirichlet(part=1),), "part 1, but the space has 0"),
    "component of a scalar": (lambda m: (Dirichlet(component=0),), "component 0, but there are 0"),
    "one truth value": (lambda m: (Dirichlet(where=lambda x: True),), "`where` returned a bool"),
    "a short answer": (
        lambda m: (Dirichlet(), Dirichlet(where=lambda x: np.array([True]))),
        r"condition 2: `where` returned a bool array of shape \(1,\)",
    ),
    "numbers for truth": (
        lambda m: (Dirichlet(where=lambda x: x[0]),), "`where` returned a float64 array",
    ),
    "an error in where": (
        lambda m: (Dirichlet(where=lambda x: x[3] == 0),),
        r"`where` of a condition, line \d+ of test_form_checks.py: IndexError",
    ),
    "text for where": (lambda m: (Dirichlet(where="left"),), "no facet has the tag 'left'"),
    "nowhere": (lambda m: (Dirichlet(where=lambda x: x[0] > 5),), "no whole facet on the boundary"),
    "no node": (
        lambda m: (Dirichlet(where=lambda x: np.isclose(x[0], 0.1), nodal=True),), "no node",
    ),
    "nodal without where": (lambda m: (Dirichlet(nodal=True),), "is nodal but has no `where`"),
    "not finite": (lambda m: (Dirichlet(np.inf),), "has the value inf: use a finite number"),
    "complex": (lambda m: (Dirichlet(1j),), "has the value 1j"),
    "text": (lambda m: (Dirichlet("1"),), "has the value '1'"),
    "an expression": (lambda m: (Dirichlet(ufl.SpatialCoordinate(m)[0]),), "has the value Indexed"),
    "an array": (lambda m: (Dirichlet(np.ones(2)),), "has the value ndarray"),
    "a vector for a scalar": (
        lambda m: (Dirichlet(function_on(m, (2,))),), r"a Function of the shape \(2,\)",
    ),
    "of another mesh": (
        lambda m: (Dirichlet(function_on(other_mesh())),), "a Function on another mesh",
    ),
    "several numbers": (
        lambda m: (Dirichlet(fem.Constant(m, (1.0, 2.0))),), r"a Constant of the shape \(2,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BOUNDARIES)
def test_conditions_that_cannot_be_prescribed_are_refused(case: str) -> None:
    boundary, message = BOUNDARIES[case]
    with pytest.raises(FamilyError, match=message):
        discretise(lambda s, p, u, v: WeakForm(energy(u, v), v * dx, boundary(s.mesh)))


def test_parameters_with_axes_of_their_own_are_constants_of_their_shape() -> None:
    def form(space: Any, parameters: Any, u: Any, v: Any) -> WeakForm:
        c = parameters["c"]
        assert c.ufl_shape == (3,)
        return WeakForm(u * v * dx, sum(c[j] * (j + 1) for j in range(3)) * v * dx, ())

    discretisation = discretise(form)
    u = discretisation.solve([DRAWN], solve_directly)[0]["u"]
    np.testing.assert_allclose(u, 1 + 2 * 2 + 3 * 4, rtol=1e-12)
    with pytest.raises(Exception, match=r"c has shape \(4,\) but its Constant has \(3,\)"):
        discretisation.solve([{**DRAWN, "c": np.ones(4)}], solve_directly)


class Moving(EvolutionFamily):
    """A family with time steps."""

    parameters = PARAMETERS
    fields = (Variable("u", "u"),)
    times = np.array([0.0, 1.0])  # type: ignore[assignment]
    draw = Own.draw
    initial_state = None  # type: ignore[assignment]

    def weak_form(self, space: Any, parameters: Any, step: Any) -> Any:
        """Return a step with its trial function on the right."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(u * v * dx, (step.previous[0] + u) * v * dx)


class Nonlinear(NonlinearFamily):
    """A nonlinear family."""

    parameters = PARAMETERS
    fields = (Variable("u", "u"),)
    draw = Own.draw

    def weak_form(self, space: Any, parameters: Any, u: Any) -> Any:
        """Return the form of the test."""
        return type(self).form(space, parameters, u, ufl.TestFunction(space))  # type: ignore[attr-defined]


def test_forms_of_steps_and_of_newtons_method_are_checked_alike() -> None:
    with pytest.raises(FamilyError, match=r"form L (has a TrialFunction|is not linear)"):
        discretise(lambda: None, Moving)
    with pytest.raises(FamilyError, match=r"returned a WeakForm: return NonlinearForm\(F\)"):
        discretise(lambda s, p, u, v: WeakForm(energy(u, v), v * dx), Nonlinear)
    with pytest.raises(FamilyError, match="form F has a TrialFunction: write it with the Func"):
        discretise(lambda s, p, u, v: NonlinearForm(energy(ufl.TrialFunction(s), v)), Nonlinear)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: None, "make_mesh returned nothing"),
        (lambda: mesh.create_unit_cube(MPI.COMM_SELF, 2, 2, 2), "a mesh of dimension 3"),
        (
            lambda: mesh.create_unit_square(MPI.COMM_SELF, 2, 2, mesh.CellType.quadrilateral),
            "cells of 4 points: return a mesh of straight simplices",
        ),
        (lambda: 1 / 0, r"make_mesh, line \d+ of test_form_checks.py: ZeroDivisionError"),
    ],
)
def test_meshes_that_are_not_valid_are_refused(made: Any, message: str) -> None:
    with pytest.raises(FamilyError, match=message):
        discretise(lambda *_: None, make_mesh=lambda self, comm: made())


def test_elements_that_are_not_valid_are_refused() -> None:
    with pytest.raises(FamilyError, match=r"make_element, line \d+ of test_form_checks.py"):
        discretise(
            lambda *_: None,
            make_element=lambda self, cell: basix.ufl.element("Lagrange", cell, 0),
        )
