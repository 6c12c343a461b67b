# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Levels of fill and relaxation factors act as defined."""

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov import SequenceSolver, SolverState
from kryloset.krylov.automatic.selection import Recording
from kryloset.krylov.preconditioners.set_up import set_up_preconditioner
from kryloset.krylov.reason import Reason


def set_up(matrix, name, **numbers):
    """Return the set-up preconditioner of a matrix."""
    ksp = PETSc.KSP().create(MPI.COMM_SELF)
    ksp.setOperators(to_mat(matrix))
    assert set_up_preconditioner(ksp, name, symmetric=True, **numbers) is Reason.CONVERGED
    return ksp.getPC()


def count_entries(matrix, fill):
    """Return how many entries of L + U have a level of at most `fill`, from its definition."""
    n = matrix.shape[0]
    level = np.where(matrix.toarray() != 0, 0.0, np.inf)
    for k in range(n):
        # Entries that are dropped create no others.
        level[level > fill] = np.inf
        through = level[k + 1 :, k, None] + level[k, k + 1 :] + 1
        level[k + 1 :, k + 1 :] = np.minimum(level[k + 1 :, k + 1 :], through)
    return int((level <= fill).sum())


@pytest.mark.parametrize("fill", [0, 1, 2, 5])
def test_a_level_keeps_what_its_definition_says(fill):
    matrix = laplacian(6)
    entries = count_entries(matrix, fill)
    ilu = set_up(matrix, "ilu", fill=fill).getFactorMatrix().getInfo()["nz_used"]
    assert ilu == entries
    # One triangle.
    icc = set_up(matrix, "icc", fill=fill).getFactorMatrix().getInfo()["nz_used"]
    assert icc == (entries + 36) // 2


@pytest.mark.parametrize(("method", "name"), [("cg", "icc"), ("gmres", "ilu")])
def test_each_level_takes_fewer_iterations(method, name, rng):
    mat = to_mat(laplacian(30))
    b = to_vec(mat, rng.standard_normal(900))
    counts = []
    for fill in range(4):
        solver = SequenceSolver(method, name, fill=fill)
        result, _ = solver.solve(mat, b, solver.init())
        assert result.converged
        counts.append(result.iterations)
    assert counts == sorted(set(counts), reverse=True)


@pytest.mark.parametrize(("method", "name"), [("cg", "icc"), ("gmres", "ilu")])
def test_with_all_levels_the_factor_is_complete(method, name, rng):
    matrix = laplacian(5)
    assert count_entries(matrix, 9) == count_entries(matrix, 25) > count_entries(matrix, 2)
    mat = to_mat(matrix)
    solver = SequenceSolver(method, name, fill=9)
    result, _ = solver.solve(mat, to_vec(mat, rng.standard_normal(25)), solver.init())
    assert (result.converged, result.iterations) == (True, 1)


@pytest.mark.parametrize("omega", [0.5, 1.0, 1.5])
def test_sor_is_the_symmetric_sweep_with_that_factor(omega, rng):
    matrix = sequence(6, 1)[0]
    matrix = sp.csr_array(matrix + matrix.T)
    diagonal = sp.diags_array(matrix.diagonal())
    lower = (sp.tril(matrix, -1) + diagonal / omega).toarray()
    product = omega / (2 - omega) * lower @ np.linalg.inv(diagonal.toarray()) @ lower.T
    b = rng.standard_normal(36)
    pc = set_up(matrix, "sor", omega=omega)
    x = to_vec(pc.getOperators()[0], b)
    y = x.duplicate()
    pc.apply(x, y)
    np.testing.assert_allclose(product @ y.getArray(), b, rtol=1e-12, atol=1e-12)
    assert not PETSc.Options().hasName("kryloset_pc_sor_omega")


NUMBERS = [
    SequenceSolver("cg", "icc", fill=2),
    SequenceSolver("rcg", "icc", fill=1, restart=15, recycle=7),
    SequenceSolver("cg", "icc", fill=2, refresh=(0, 2)),
    SequenceSolver("cg", "sor", omega=1.6),
    SequenceSolver("cg", "sor", omega=1.6, refresh=(0, 2)),
]


@pytest.mark.parametrize("solver", NUMBERS, ids=lambda solver: solver.label)
def test_continuing_from_a_saved_state_is_bit_identical(solver, rng, tmp_path):
    systems, b = sequence(20, 5), rng.standard_normal(400)
    mat, state, solutions = to_mat(systems[0]), solver.init(), []
    for i, system in enumerate(systems):
        if i == 3:
            state.save(tmp_path / "state.npz")
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.converged
        solutions.append(result.solution.getArray().copy())
    loaded, mat = SolverState.load(tmp_path / "state.npz"), to_mat(systems[3])
    for i in (3, 4):
        refill(mat, systems[i])
        result, loaded = solver.solve(mat, to_vec(mat, b), loaded)
        np.testing.assert_array_equal(result.solution.getArray(), solutions[i])


def test_one_state_for_solvers_with_other_numbers_has_no_stale_factor(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    for name, one, other in (("icc", {"fill": 0}, {"fill": 3}), ("sor", {}, {"omega": 1.5})):
        first = SequenceSolver("cg", name, **one)
        second = SequenceSolver("cg", name, **other)
        fresh, _ = second.solve(mat, b, second.init())
        _, state = first.solve(mat, b, first.init())
        result, _ = second.solve(mat, b, state)
        assert result.iterations == fresh.iterations


def test_numbers_are_recorded():
    recording = Recording(tuple(NUMBERS), (0, 1, 4))
    assert Recording.from_json(recording.to_json()) == recording


def test_labels_show_the_numbers_that_count():
    assert SequenceSolver("cg", "icc", fill=2).label == "cg + icc(2)"
    assert SequenceSolver("cg", "icc", fill=2, refresh="rental").label == "cg + icc(2), reused"
    assert SequenceSolver("cg", "sor", omega=1.5).label == "cg + sor(1.5)"
    assert SequenceSolver("cg", "jacobi").label == "cg + jacobi"
