# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The residual that a check computes is that of the assembled system, whatever the units."""

from types import SimpleNamespace
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import ufl

from kryloset.config import DatasetConfig, MeshConfig
from kryloset.fem.discretise import discretise
from kryloset.fem.linear_system import LinearSystem
from kryloset.problems import SteadyFamily, Variable, WeakForm, load_family
from kryloset.problems.base import Discretisation, Family
from kryloset.problems.checks.drawing import Drawing, draw_example
from kryloset.problems.registry import make_family


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1.0, 1e200, 1e300])
def test_the_residual_is_one_for_zero_and_zero_for_the_solution(size):
    b = size * np.array([1.0, 2.0, 3.0])
    rhs = PETSc.Vec().createWithArray(b, comm=PETSc.COMM_SELF)
    system = SimpleNamespace(rhs=rhs)
    assert LinearSystem.residual_of(system, np.zeros(3)) == pytest.approx(1.0)
    assert LinearSystem.residual_of(system, b) <= 1e-12
    assert LinearSystem.residual_of(system, 2 * b) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "family", ["darcy", "advection_diffusion", "elasticity", "neumann_poisson", "maxwell"]
)
def test_the_action_of_the_form_is_the_product_with_its_matrix(family):
    """Of any x, also one with other values than those prescribed."""
    loaded = load_family(DatasetConfig(family=family, mesh={"points": 33}))
    discretisation = discretise(loaded, MPI.COMM_SELF)
    matrix, rhs = discretisation.assemble(draw_example(loaded))
    x, expected = rhs.duplicate(), rhs.duplicate()
    x.setArray(np.random.default_rng(0).standard_normal(rhs.getLocalSize()))
    matrix.mult(x, expected)
    scale = 1e-14 * np.abs(expected.array_r).max()
    np.testing.assert_allclose(
        discretisation.system.apply(x.array_r), expected.array_r, rtol=0, atol=scale
    )


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("darcy", {}),
        ("darcy", {"placement": "cells"}),
        ("darcy", {"source_deviation": 0.5}),
        ("advection_diffusion", {}),
        ("poisson", {}),
        ("thermal", {}),
        ("helmholtz", {}),
        ("elasticity", {}),
    ],
)
@pytest.mark.parametrize("count", [3, 5])
def test_residuals_of_several_solutions_are_those_of_each(family, settings, count):
    config = DatasetConfig(family=family, mesh={"points": 65}, parameters=settings)
    discretisation = discretise(load_family(config), MPI.COMM_SELF)
    assert (discretisation.system.lanes is None) == (family == "elasticity")
    require_residuals_of_each(discretisation, load_family(config), count)


class Anisotropic(SteadyFamily):
    """Parameters that are Constants of every shape, a profile, and a derivative that UFL finds."""

    summary = equation = "-div(K grad u) + w.grad u = 1"
    parameters = (
        Variable("terms", "coefficients of a series", dimensions=("term",)),
        Variable("matrix", "conductivity", dimensions=("row", "column")),
        Variable("wind", "wind", dimensions=(), rank=1),
        Variable("loss", "loss through the sides", dimensions=()),
        Variable("profile", "along y", dimensions=("y",)),
    )
    fields = (Variable("u", "u"),)

    def draw(self, generator: np.random.Generator) -> dict[str, Any]:
        """Draw numbers by which the operator is definite."""
        return {
            "terms": generator.uniform(-0.5, 0.5, 3),
            "matrix": 3 * np.eye(2) + generator.uniform(-0.5, 0.5, (2, 2)),
            "wind": generator.uniform(-1, 1, 2),
            "loss": generator.uniform(1, 2),
            "profile": generator.uniform(1, 2, len(self.coordinates["y"])),
        }

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form, in which each parameter is a coefficient of A."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        x = ufl.SpatialCoordinate(space.mesh)
        series = 3 + sum(parameters["terms"][n] * ufl.sin((n + 1) * x[0]) for n in range(3))
        gradient = ufl.variable(ufl.grad(u))
        flux = ufl.diff(series * ufl.inner(parameters["matrix"] * gradient, gradient), gradient)
        a = ufl.inner(flux, ufl.grad(v)) * ufl.dx
        a += ufl.inner(parameters["wind"], ufl.grad(u)) * parameters["profile"] * v * ufl.dx
        return WeakForm(a + parameters["loss"] * u * v * ufl.ds, v * ufl.dx)


def test_residuals_of_several_solutions_with_constants_of_every_shape():
    family = make_family(Anisotropic, "anisotropic", {}, MeshConfig(points=17))
    discretisation = family.discretise(MPI.COMM_SELF)
    assert discretisation.system.lanes is not None
    require_residuals_of_each(discretisation, family, 5)


def require_residuals_of_each(discretisation: Discretisation, family: Family, count: int) -> None:
    """Of any vectors: each instance has its own coefficients, whoever is beside it."""
    draw, random = Drawing(family), np.random.default_rng(0)
    size = len(discretisation.system.rhs.array_r)
    instances = [draw(0, index) for index in range(count)]
    solutions = [discretisation.elements.write(random.standard_normal(size)) for _ in instances]
    solved = [*zip(instances, solutions, strict=True)]
    each = [discretisation.residual(*one) for one in solved]
    found = discretisation.residuals(solved)
    np.testing.assert_allclose(found, each, rtol=1e-12)
    assert min(each) > 1e-3 and len(set(each)) == count
