# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Distances to solutions on a refined mesh are those that theory asks for."""

from mpi4py import MPI

import numpy as np
import pytest
from test_tags import Composite

from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError
from kryloset.fem.accuracy import SolveStrictly
from kryloset.fem.refinement import Refinement
from kryloset.problems import load_family
from kryloset.problems.registry import make_family
from kryloset.sampling import generator

SMOOTH = {"modes": 2}


def load(name, points, degree=1, instances=1, periodic=(), **settings):
    mesh = {"points": points, "degree": degree, "periodic": list(periodic)}
    config = {"family": name, "mesh": mesh, "parameters": settings}
    return load_family(
        DatasetConfig.model_validate(config | {"refinement": {"instances": instances}})
    )


def estimate(family, instance=None):
    """Return the distances of an instance, which is solved to rounding."""
    instance = family.draw(generator(0, 0)) if instance is None else instance
    discretisation = family.discretise(MPI.COMM_SELF)
    (solution,) = discretisation.solve([instance], SolveStrictly(family.operator, 1e-11))
    return Refinement(family, 1e-8).estimate(instance, solution)


@pytest.mark.parametrize(("degree", "order"), [(1, 2), (2, 3)])
def test_the_distance_falls_with_the_order_of_the_elements(degree, order):
    """For a constant coefficient the solution is smooth up to the corners."""
    found = []
    for points in (17, 33):
        family = load("darcy", points, degree, **SMOOTH)
        instance = {name: np.ones_like(a) for name, a in family.draw(generator(0, 0)).items()}
        found.append(estimate(family, instance)["u"])
    assert found[0] / found[1] == pytest.approx(2**order, rel=0.25)


def test_a_closed_mesh_is_refined_and_closed_again():
    found = []
    for points in (16, 32):
        family = load("neumann_poisson", points, periodic="xy", **SMOOTH)
        found.append(estimate(family)["u"])
    assert found[0] / found[1] == pytest.approx(4, rel=0.25)


def test_tags_are_those_of_the_refined_mesh():
    """A solution that is linear in each of two tagged materials has no distance."""
    family = make_family(Composite, "composite", {}, MeshConfig(points=5))
    instance = {"k": np.array([2.0, 0.5]), "q": np.array(3.0)}
    assert estimate(family, instance)["u"] < 1e-9


def test_a_solution_in_the_space_has_no_distance():
    """Poisson's equation without a source and with the boundary values of 1 + x - 2 y."""
    family = load("poisson", 9)
    t = family.coordinates["x"]
    sides = {"left": 1 - 2 * t, "right": 2 - 2 * t, "bottom": 1 + t, "top": t - 1}
    assert estimate(family, {"f": np.zeros((9, 9)), **sides})["u"] < 1e-9


def test_coefficients_are_the_same_functions_on_both_meshes():
    """Energies are those of nested spaces: the distance of energies is the energy of the distance.

    It holds only if both have one bilinear form (Galerkin orthogonality).
    """
    family = load("darcy", 9, **SMOOTH)
    instance = family.draw(generator(0, 3))
    coarse, fine = family.discretise(MPI.COMM_SELF), Refinement(family, 1e-8)
    energies = []
    for discretisation in (coarse, fine.discretisation):
        matrix, rhs = discretisation.assemble(instance)
        solution = SolveStrictly(family.operator, 1e-11)(matrix, rhs)
        energies.append(solution.dot(rhs))
        systems = matrix, solution
    u = coarse.solve([instance], SolveStrictly(family.operator, 1e-11))[0]["u"]
    matrix, refined = systems
    # The coarse solution on the refined mesh, as a function of the first mesh.
    elements = fine.discretisation.elements
    vector = refined.duplicate()
    (part,) = elements.parts
    values = fine.finer.between_points(u, part.unknowns.points)
    part.unknowns.scatter(values, vector.array)
    vector.axpy(-1.0, refined)
    product = vector.duplicate()
    matrix.mult(vector, product)
    assert energies[1] - energies[0] == pytest.approx(vector.dot(product), rel=1e-6)


@pytest.mark.parametrize("name", ["heat", "reaction_diffusion", "helmholtz_absorbing", "maxwell"])
def test_every_kind_of_family_is_refined(name):
    settings = {
        "heat": {"steps": 3, "modes": 2},
        "reaction_diffusion": SMOOTH,
        "helmholtz_absorbing": {"wavelengths": 1.0, "modes": 2},
    }
    family = load(name, 17, **settings.get(name, {}))
    found = estimate(family)
    assert set(found) == {field.name for field in family.fields}
    assert all(1e-6 < error < 0.5 for error in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("navier_stokes", {"reynolds": 100.0, "steps": 40, "final_time": 0.1}),
        ("incompressible_elasticity", {}),
    ],
)
def test_unknowns_beside_the_grid_are_refined(name, given):
    found = estimate(load(name, 17, degree=2, **given))
    assert all(1e-6 < error < 0.5 for error in found.values())


def test_a_mesh_for_each_instance_is_refused_before_anything_is_solved():
    with pytest.raises(ConfigError, match=r"refinement.instances: Thermal .* a mesh of its own"):
        load("thermal", 9, outline="drawn")
    assert load("thermal", 9, outline="drawn", instances=0)
