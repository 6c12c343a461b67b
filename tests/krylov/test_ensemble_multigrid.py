# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The V-cycle of an ensemble is PETSc's of each lane, and no lane sees another."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from ensembles import columns_of, to_ensemble, to_rhs
from systems import diffusion, laplacian, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver
from kryloset.krylov.ensemble.factor import can_factor
from kryloset.krylov.ensemble.inner import REDUCTION, SinglePrecisionCG
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.ensemble.multigrid import GeometricMultigrid
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.preconditioners.multigrid import set_multigrid
from kryloset.krylov.reason import Reason

pytestmark = pytest.mark.skipif(not can_factor(), reason="needs real numbers and a C compiler")

SIZE = 15
"""Points a side: those of the next lattices are 7 and 3."""


def interpolations(size, levels, components=1):
    """Return linear interpolations of a square with size x size inner points, the finest first."""
    found = []
    for _ in range(levels):
        coarse = size // 2
        weights = sp.diags_array([0.5, 1.0, 0.5], offsets=[0, -1, -2], shape=(size, size))
        line = sp.csr_array(weights)[:, : 2 * coarse : 2]
        square = sp.kron(sp.kron(line, line), sp.eye_array(components))
        found.append(to_rectangle(sp.csr_array(square)))
        size = coarse
    return found


def to_rectangle(matrix):
    csr = (matrix.indptr.astype("i4"), matrix.indices.astype("i4"), matrix.data)
    return PETSc.Mat().createAIJ(matrix.shape, csr=csr, comm=PETSc.COMM_SELF)


def cycle(matrices, lanes=4, levels=2, components=1):
    """Return the V-cycles of matrices with one pattern, and which are usable."""
    pattern = Pattern.of(to_mat(matrices[0]))
    size = round(np.sqrt(pattern.rows / components))
    lattices = interpolations(size, levels, components)
    made = GeometricMultigrid.analyse(pattern, lattices, len(matrices), lanes)
    return made, made.set_up(np.array([matrix.data for matrix in matrices]).T.copy())


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    return [diffusion(SIZE, rng, 0.0) for _ in range(count)]


def apply(made, x):
    """Return the result of a cycle, or of CG with cycles."""
    y = np.empty_like(x)
    if isinstance(made, SinglePrecisionCG):
        made.apply(x, y)
    else:
        made.load(x)
        made.cycle()
        made.store(made.finest.x, y)
    return y


def random(rows, lanes):
    return np.random.default_rng(0).standard_normal((rows, lanes))


def by_petsc(matrix, lattices, x):
    """Return the result of PETSc's cycle."""
    mat = to_mat(matrix)
    # Otherwise PETSc's sweeps go from point to point where a point has several components.
    mat.setOption(PETSc.Mat.Option.USE_INODES, False)
    mat.setAttr("interpolations", lambda: lattices)
    pc = PETSc.PC().create(PETSc.COMM_SELF)
    pc.setOperators(mat)
    set_multigrid(pc, mat)
    pc.setUp()
    right, result = mat.createVecs()
    right.array = x
    pc.apply(right, result)
    return result.array.copy()


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("constant", [False, True])
def test_a_lane_is_the_cycle_of_petsc(lanes, constant):
    matrices = draw(1 if constant else lanes)
    made, usable = cycle(matrices, lanes)
    assert usable.all()
    x = random(SIZE**2, lanes)
    y = apply(made, x)
    for lane in range(lanes):
        matrix = matrices[0 if constant else lane]
        expected = by_petsc(matrix, interpolations(SIZE, 2), x[:, lane])
        np.testing.assert_allclose(y[:, lane], expected, atol=1e-5 * abs(y).max())


def test_fields_with_components_have_lattices_of_their_own():
    coupled = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 3.0]])
    matrix = sp.csr_array(sp.kron(laplacian(7), coupled))
    matrix.sort_indices()
    made, _ = cycle([matrix] * 4, levels=1, components=3)
    x = random(147, 4)
    expected = by_petsc(matrix, interpolations(7, 1, 3), x[:, 0])
    np.testing.assert_allclose(apply(made, x)[:, 0], expected, atol=1e-5 * abs(expected).max())


def test_without_a_coarser_lattice_the_factor_is_complete():
    made, _ = cycle([laplacian(7)] * 4, levels=0)
    x = random(49, 4)
    np.testing.assert_allclose(laplacian(7) @ apply(made, x), x, atol=1e-4)


@pytest.mark.parametrize(("size", "levels"), [(7, 1), (15, 2), (31, 3), (63, 4)])
def test_the_error_shrinks_as_fast_on_each_lattice(size, levels):
    # Hackbusch 1985, theorem 7.2.2: the V-cycle contracts independently of the width h.
    matrix = laplacian(size)
    made, _ = cycle([matrix] * 4, levels=levels)
    error = random(size**2, 4)
    factor = np.zeros(4)
    for _ in range(12):
        size_before = np.sqrt(np.sum(error * (matrix @ error), axis=0))
        error -= apply(made, matrix @ error)
        factor = np.sqrt(np.sum(error * (matrix @ error), axis=0)) / size_before
    assert (factor < 0.25).all()


def test_the_action_is_symmetric_and_positive_definite():
    matrices = [diffusion(7, np.random.default_rng(seed), 0.0) for seed in range(4)]
    made, _ = cycle(matrices, levels=1)
    columns = [apply(made, np.repeat(unit[:, None], 4, axis=1)) for unit in np.eye(49)]
    for lane in range(4):
        inverse = np.array(columns)[:, :, lane]
        np.testing.assert_allclose(inverse, inverse.T, atol=1e-6)
        assert np.linalg.eigvalsh(inverse).min() > 0


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_numbers_outside_of_single_precision_change_nothing(size, constant):
    matrices = draw(1 if constant else 4)
    x = random(SIZE**2, 4)
    expected = apply(cycle(matrices)[0], x)
    made, usable = cycle([size * matrix for matrix in matrices])
    assert usable.all()
    np.testing.assert_allclose(size * apply(made, x), expected, atol=1e-5 * abs(expected).max())
    np.testing.assert_allclose(apply(made, size * x), expected, atol=1e-5 * abs(expected).max())


def test_products_come_with_the_cycle():
    made, _ = cycle(draw(4))
    x = random(SIZE**2, 4)
    squares = made.load(x)
    peaks = abs(x).max(axis=0)
    np.testing.assert_allclose(squares, (x**2).sum(axis=0) / peaks**2)
    product = made.cycle()
    expected = (made.finest.b * made.finest.x).sum(axis=0)
    np.testing.assert_allclose(product, expected, rtol=1e-4)


@pytest.mark.parametrize("constant", [False, True])
def test_inner_iterations_reduce_the_residual_of_each_lane(constant):
    matrices = draw(1 if constant else 4)
    made, _ = cycle(matrices)
    x = random(SIZE**2, 4)
    # A smooth right-hand side takes fewer iterations than the others.
    x[:, 1] = matrices[0] @ np.ones(SIZE**2)
    y = apply(SinglePrecisionCG(made), x)
    for lane in range(4):
        rest = x[:, lane] - matrices[0 if constant else lane] @ y[:, lane]
        assert np.linalg.norm(rest) <= 1.1 * REDUCTION * np.linalg.norm(x[:, lane])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e3])
@pytest.mark.parametrize("place", [0, -2])
@pytest.mark.parametrize("wrap", [lambda made: made, SinglePrecisionCG])
def test_a_wrong_lane_harms_no_neighbour(wrong, place, wrap):
    # On the diagonal, and below it.
    matrices = draw(4)
    x = random(SIZE**2, 4)
    expected = apply(wrap(cycle(matrices)[0]), x)
    matrices[2].data[place] = wrong
    made, usable = cycle(matrices)
    y = apply(wrap(made), x)
    others = [0, 1, 3]
    np.testing.assert_array_equal(y[:, others], expected[:, others])
    assert np.isfinite(y).all()
    assert usable[others].all()
    # An indefinite matrix may have a positive diagonal on each lattice. CG finds that.
    if place == 0 or not np.isfinite(wrong):
        assert not usable[2]
        np.testing.assert_allclose(y[:, 2], x[:, 2], rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda made: made, SinglePrecisionCG])
def test_right_hand_sides_of_zero_give_zero(wrap):
    made, _ = cycle(draw(4))
    x = random(SIZE**2, 4)
    x[:, 1] = 0
    y = apply(wrap(made), x)
    assert not y[:, 1].any()
    assert np.isfinite(y).all()


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_ensembles_are_solved_with_it(lanes):
    matrices = draw(5)
    mat = to_ensemble(matrices, 16)
    lattices = interpolations(SIZE, 2)
    ensemble_of(mat).template.setAttr("interpolations", lambda: lattices)
    solver = SequenceSolver("cg", "multigrid", 1e-10, lanes=lanes)
    b = random(SIZE**2, 5)
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert result.converged
    x = columns_of(mat, result.solution)
    for lane, matrix in enumerate(matrices):
        rest = b[:, lane] - matrix @ x[:, lane]
        assert np.linalg.norm(rest) <= 1e-10 * np.linalg.norm(b[:, lane])
        assert result.lanes[lane].iterations < 15


def test_a_zero_on_the_diagonal_is_told_and_crashes_nothing():
    (matrix,) = draw(1)
    centre = SIZE**2 // 2
    matrix.data[matrix.indptr[centre] : matrix.indptr[centre + 1]] = 0.0
    lattices, b = interpolations(SIZE, 2), random(SIZE**2, 1)
    alone, ensemble = to_mat(matrix), to_ensemble([matrix])
    alone.setAttr("interpolations", lambda: lattices)
    ensemble_of(ensemble).template.setAttr("interpolations", lambda: lattices)
    for mat, rhs, lanes in ((alone, to_vec(alone, b[:, 0]), 1), (ensemble, None, 16)):
        solver = SequenceSolver("cg", "multigrid", lanes=lanes)
        result, _ = solver.solve(mat, rhs or to_rhs(mat, b), solver.init())
        (lane,) = result.lanes or (result,)
        assert (lane.reason, lane.true_residual) == (Reason.PRECONDITIONER_FAILED, 1.0)


def test_a_matrix_without_lattices_is_refused():
    mat = to_ensemble(draw(1))
    solver = SequenceSolver("cg", "multigrid", lanes=16)
    with pytest.raises(KrylosetError, match="no interpolations"):
        solver.solve(mat, to_rhs(mat, random(SIZE**2, 1)), solver.init())
