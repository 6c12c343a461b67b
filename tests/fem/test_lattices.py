# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Interpolations between lattices, and the geometric multigrid that they make."""

import json
from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp

from kryloset.config import DatasetConfig
from kryloset.errors import KrylosetError
from kryloset.krylov import Automatic, SequenceSolver, SolverState
from kryloset.krylov.preconditioners.multigrid import has_interpolations
from kryloset.krylov.preconditioners.set_up import set_up_preconditioner
from kryloset.problems import load_family
from kryloset.sampling import generator
from ranks import run_on_ranks


def discretised(family: str, points: int, dimension: int | None = None, degree: int = 1, **given):
    """Return a family and its discretisation."""
    mesh = {"points": points, "degree": degree, "dimension": dimension}
    loaded = load_family(DatasetConfig(family=family, mesh=mesh, parameters=given))
    return loaded, loaded.discretise(MPI.COMM_SELF)


def systems(family, discretisation, count: int):
    """Yield A and b of instances; A is refilled."""
    for number in range(count):
        yield discretisation.assemble(family.draw(generator(3, number)))


def to_csr(mat: PETSc.Mat) -> sp.csr_array:
    offsets, columns, entries = mat.getValuesCSR()
    return sp.csr_array((entries, columns, offsets), shape=mat.getSize())


def constant_operator(points: int, dimension: int, degree: int) -> tuple[Any, Any]:
    """Return the discretisation of Darcy flow with k = 1, and its matrix."""
    _, discretisation = discretised("darcy", points, dimension, degree, modes=2)
    k = np.ones((points,) * dimension)
    return discretisation, discretisation.assemble({"k": k})[0]


@pytest.mark.parametrize(
    ("points", "dimension", "degree", "coarse_points"),
    [(33, 2, 1, 17), (33, 2, 2, 17), (9, 3, 1, 5), (9, 3, 2, 5)],
)
def test_the_coarse_operator_is_that_of_the_coarse_mesh(points, dimension, degree, coarse_points):
    """The spaces are nested, and k = 1 is integrated exactly."""
    _, matrix = constant_operator(points, dimension, degree)
    first = to_csr(matrix.getAttr("interpolations")()[0])
    galerkin = (first.T @ to_csr(matrix) @ first).toarray()
    coarse, own = constant_operator(coarse_points, dimension, 1)
    own = to_csr(own).toarray()
    nodes = np.argsort(coarse.elements.parts[0].unknowns.numbers)
    inner = np.arange(coarse_points**dimension).reshape((coarse_points,) * dimension)
    free = nodes[inner[(slice(1, -1),) * dimension].ravel()]
    np.testing.assert_allclose(galerkin, own[np.ix_(free, free)], rtol=0, atol=1e-13 * own.max())


@pytest.mark.parametrize(("points", "degree"), [(32, 1), (33, 1), (64, 1), (33, 2), (35, 2)])
def test_linear_functions_are_interpolated_exactly(points, degree):
    """Where nothing is prescribed, from lattices of any number of points."""
    _, discretisation = discretised("neumann_poisson", points, degree=degree, modes=4)
    matrix, nodes = discretisation.system.matrix, discretisation.elements.parts[0].unknowns
    axis = np.arange(points)
    fine = nodes.points[nodes.numbers] @ [1.0, -2.0] + 3.0
    for interpolation in matrix.getAttr("interpolations")():
        axis = np.unique([*axis[::2], axis[-1]])
        x, y = np.meshgrid(axis, axis, indexing="ij")
        coarse = (x - 2.0 * y).ravel() / (points - 1) + 3.0
        np.testing.assert_allclose(to_csr(interpolation) @ coarse, fine, atol=1e-12)
        fine = coarse
    assert len(fine) <= 200


@pytest.mark.parametrize(("points", "sides"), [(33, [2.0, 0.5]), (257, [1e-6, 1e-6])])
def test_linear_functions_are_interpolated_exactly_on_points_at_any_distances(points, sides):
    mesh = {"points": [points, 18], "sides": sides, "spacing": ["chebyshev", {"walls": 5.0}]}
    config = {"family": "neumann_poisson", "mesh": mesh, "parameters": {"modes": 4}}
    family = load_family(DatasetConfig(**config))
    discretisation = family.discretise(MPI.COMM_SELF)
    matrix, nodes = discretisation.system.matrix, discretisation.elements.parts[0].unknowns
    axes = list(family.coordinates.values())
    fine = nodes.points[nodes.numbers] @ [1.0, -2.0] / sides[0] + 3.0
    for interpolation in matrix.getAttr("interpolations")():
        axes = [np.unique([*line[::2], line[-1]]) for line in axes]
        x, y = np.meshgrid(*axes, indexing="ij")
        coarse = (x - 2.0 * y).ravel() / sides[0] + 3.0
        np.testing.assert_allclose(to_csr(interpolation) @ coarse, fine, atol=1e-12)
        fine = coarse
    assert len(fine) <= 200


def test_prescribed_unknowns_stay_out_of_the_coarse_levels():
    """Rows of prescribed unknowns are zero; each component has its own."""
    _, discretisation = discretised("elasticity", 17, modes=4)
    (first, *_) = discretisation.system.matrix.getAttr("interpolations")()
    interpolation = to_csr(first)
    clamped = discretisation.system.boundary.conditions[0].dof_indices()[0]
    counts = np.diff(interpolation.indptr)
    assert (counts[clamped] == 0).all() and (np.delete(counts, clamped) > 0).all()
    assert interpolation.shape == (17 * 17 * 2, 8 * 9 * 2)
    # A coarse function moves one component.
    for component in range(2):
        columns = interpolation[component::2].tocoo().col
        assert set(columns % 2) == {component}


def set_up(matrix: PETSc.Mat) -> PETSc.KSP:
    ksp = PETSc.KSP().create(matrix.comm)
    ksp.setOperators(matrix)
    ksp.setType("preonly")
    set_up_preconditioner(ksp, "multigrid", symmetric=True)
    return ksp


def test_coarse_operators_follow_the_entries():
    """They are P'AP after each refill, to rounding."""
    family, discretisation = discretised("darcy", 64, modes=8)
    ksp = None
    for matrix, _ in systems(family, discretisation, 3):
        ksp = ksp or set_up(matrix)
        set_up_preconditioner(ksp, "multigrid", symmetric=True)
        expected = to_csr(matrix)
        interpolations = matrix.getAttr("interpolations")()
        for number, interpolation in enumerate(interpolations, start=1):
            prolong = to_csr(interpolation)
            expected = prolong.T @ expected @ prolong
            smoother = ksp.getPC().getMGSmoother(len(interpolations) - number)
            found = to_csr(smoother.getOperators()[0])
            assert abs(found - expected).max() <= 1e-13 * abs(expected).max()


@pytest.mark.parametrize(
    ("family", "points", "dimension", "degree"),
    [("darcy", 18, 2, 1), ("darcy", 7, 3, 1), ("darcy", 17, 2, 2), ("elasticity", 13, 2, 1)],
)
def test_a_cycle_is_symmetric_and_never_overshoots(family, points, dimension, degree):
    """The eigenvalues of M^-1 A lie in (0, 1] (Hackbusch 1985, theorem 7.2.2)."""
    loaded, discretisation = discretised(family, points, dimension, degree, modes=4)
    ((matrix, _),) = systems(loaded, discretisation, 1)
    pc = set_up(matrix).getPC()
    x, y = matrix.createVecs()
    inverse = np.empty(matrix.getSize())
    for number in range(len(inverse)):
        x.set(0.0)
        x.setValue(number, 1.0)
        x.assemble()
        pc.apply(x, y)
        inverse[:, number] = y.getArray()
    assert abs(inverse - inverse.T).max() <= 1e-13 * abs(inverse).max()
    # Of L' M^-1 L, which is similar to M^-1 A.
    factor = np.linalg.cholesky(to_csr(matrix).toarray())
    eigenvalues = np.linalg.eigvalsh(factor.T @ inverse @ factor)
    assert eigenvalues[0] > 0.1 and eigenvalues[-1] <= 1 + 1e-12


def iterations(family: str, points: int, dimension: int, degree: int = 1, **given: Any) -> int:
    """Return the most iterations of three instances."""
    loaded, discretisation = discretised(family, points, dimension, degree, modes=5, **given)
    solver = SequenceSolver("cg", "multigrid")
    state, most = solver.init(), 0
    for matrix, rhs in systems(loaded, discretisation, 3):
        result, state = solver.solve(matrix, rhs, state)
        assert result.converged
        most = max(most, result.iterations)
    return most


@pytest.mark.parametrize(
    ("family", "dimension", "degree", "sizes", "limit", "given"),
    [
        ("darcy", 2, 1, (17, 33, 64, 100, 129), 11, {}),
        ("darcy", 2, 2, (17, 33, 65, 99), 12, {}),
        ("darcy", 2, 1, (33, 64, 129), 12, {"permeability": "high_contrast"}),
        ("darcy", 3, 1, (9, 16, 25), 14, {}),
        ("elasticity", 2, 1, (17, 33, 64), 18, {}),
    ],
)
def test_iterations_do_not_grow_as_the_mesh_is_refined(
    family, dimension, degree, sizes, limit, given
):
    counts = [iterations(family, points, dimension, degree, **given) for points in sizes]
    assert max(counts) <= limit, counts


@pytest.mark.parametrize("refresh", ["always", (0, 3)])
def test_a_saved_state_continues_bit_for_bit(refresh, tmp_path):
    family, discretisation = discretised("darcy", 33, modes=8)
    solver = SequenceSolver("cg", "multigrid", refresh=refresh)

    def solve(numbers, state, discretisation):
        found = []
        for number in numbers:
            matrix, rhs = discretisation.assemble(family.draw(generator(3, number)))
            result, state = solver.solve(matrix, rhs, state)
            found.append(result.solution.getArray().copy())
        return found, state

    whole, _ = solve(range(5), solver.init(), discretisation)
    _, state = solve(range(2), solver.init(), discretisation)
    state.save(tmp_path / "state.npz")
    again = family.discretise(MPI.COMM_SELF)
    rest, _ = solve(range(2, 5), SolverState.load(tmp_path / "state.npz"), again)
    for expected, found in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("refresh", ["always", "rental"])
def test_a_matrix_without_lattices_is_refused(refresh):
    """The nodes in a polygon are not those of a lattice."""
    loaded, discretisation = discretised("thermal", 17)
    ((matrix, rhs),) = systems(loaded, discretisation, 1)
    assert not has_interpolations(matrix)
    solver = SequenceSolver("cg", "multigrid", refresh=refresh)
    with pytest.raises(KrylosetError, match="use gamg"):
        solver.solve(matrix, rhs, solver.init())


@pytest.mark.parametrize(("family", "first"), [("darcy", "multigrid"), ("thermal", "cholesky")])
def test_geometric_multigrid_is_tried_first_where_there_are_lattices(family, first):
    loaded, discretisation = discretised(family, 33)
    ((matrix, rhs),) = systems(loaded, discretisation, 1)
    solver = Automatic()
    result, state = solver.solve(matrix, rhs, solver.init())
    assert result.converged and state.strategies[0].preconditioner == first


def test_multigrid_is_a_strategy_for_waves_but_not_for_winds():
    strategies = {}
    for family in ("helmholtz", "advection_diffusion"):
        loaded, discretisation = discretised(family, 64)
        ((matrix, rhs),) = systems(loaded, discretisation, 1)
        assert has_interpolations(matrix)
        solver = Automatic()
        result, state = solver.solve(matrix, rhs, solver.init())
        assert result.converged
        strategies[family] = [(one.method, one.preconditioner) for one in state.strategies]
    assert ("gmres", "multigrid") in strategies["helmholtz"]
    assert ("gmres", "multigrid") not in strategies["advection_diffusion"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("family", "mesh"),
    [
        ("darcy", {"points": 40}),
        ("darcy", {"points": 9, "dimension": 3, "degree": 2}),
        ("elasticity", {"points": 20}),
        ("elasticity", {"points": 20, "periodic": ["y"]}),
    ],
)
def test_two_ranks_find_the_same_solution(family, mesh, tmp_path):
    dataset = {"family": family, "mesh": mesh, "parameters": {"modes": 4}}
    program = Path(__file__).with_name("multigrid_two_ranks.py")
    found = []
    for ranks in (1, 2):
        output = tmp_path / f"{ranks}.npz"
        run_on_ranks(ranks, program, json.dumps(dataset), output)
        found.append(np.load(output))
    one, two = found
    size = abs(one["solutions"]).max()
    np.testing.assert_allclose(two["solutions"], one["solutions"], rtol=0, atol=1e-8 * size)
    # Gauss-Seidel sweeps stay within a rank, which costs some iterations.
    assert (two["iterations"] <= one["iterations"] + 6).all()
