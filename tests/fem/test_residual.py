# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The residual that a check computes is that of the assembled system, whatever the units."""

from types import SimpleNamespace

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.fem.discretise import discretise
from kryloset.fem.linear_system import LinearSystem
from kryloset.problems import load_family
from kryloset.problems.checks.drawing import Drawing, draw_example


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
    """Of any vectors: each instance has its own coefficients, whoever is beside it."""
    config = DatasetConfig(family=family, mesh={"points": 65}, parameters=settings)
    discretisation = discretise(load_family(config), MPI.COMM_SELF)
    draw, random = Drawing(load_family(config)), np.random.default_rng(0)
    assert (discretisation.system.lanes is None) == (family == "elasticity")
    size = len(discretisation.system.rhs.array_r)
    instances = [draw(0, index) for index in range(count)]
    solutions = [discretisation.elements.write(random.standard_normal(size)) for _ in instances]
    solved = [*zip(instances, solutions, strict=True)]
    each = [discretisation.residual(*one) for one in solved]
    found = discretisation.residuals(solved)
    np.testing.assert_allclose(found, each, rtol=1e-12)
    assert min(each) > 1e-3 and len(set(each)) == count
