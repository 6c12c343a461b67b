# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Factors of ensembles against dense solves, lane by lane, and lanes that have none."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import laplacian

from kryloset.krylov.ensemble.factor import EnsembleFactor, can_factor
from kryloset.krylov.ensemble.pattern import Pattern

pytestmark = pytest.mark.skipif(not can_factor(), reason="needs real numbers and a C compiler")

ROUNDING = {False: 1e-5, True: 1e-12}
"""Relative errors of solutions by precision, of matrices of condition below 100."""


def pattern_of(matrix):
    return Pattern(matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32))


def matrices_of(n, density, lanes, seed, *, symmetric, signs=False):
    """Return a pattern and dominant matrices that have it, (nnz, lanes); signs: of pivots."""
    rng = np.random.default_rng(seed)
    pattern = sp.random_array((n, n), density=density, rng=rng, format="csr")
    pattern = sp.csr_array(abs(pattern + pattern.T if symmetric else pattern) + sp.eye_array(n))
    pattern.sort_indices()
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    entries = np.empty((pattern.nnz, lanes))
    for lane in range(lanes):
        dense = rng.standard_normal((n, n))
        dense = dense + dense.T if symmetric else dense
        np.fill_diagonal(dense, 0.0)
        dense[pattern.toarray() == 0] = 0.0
        sums = np.abs(dense).sum(axis=0) + np.abs(dense).sum(axis=1) + 1.0
        np.fill_diagonal(dense, sums * (rng.choice([-1, 1], n) if signs else 1))
        entries[:, lane] = dense[rows, pattern.indices]
    return pattern_of(pattern), entries


def dense(pattern, entries):
    n = pattern.rows
    return sp.csr_array((entries, pattern.columns, pattern.offsets), (n, n)).toarray()


def solve(factor, b):
    x = np.empty_like(b)
    factor.apply(np.ascontiguousarray(b), x)
    return x


def check(factor, pattern, entries, b, rounding):
    """Compare all lanes with dense solves."""
    x = solve(factor, b)
    for lane in range(b.shape[1]):
        matrix = dense(pattern, entries[:, lane % entries.shape[1]])
        expected = np.linalg.solve(matrix, b[:, lane])
        np.testing.assert_allclose(
            x[:, lane], expected, rtol=0, atol=rounding * np.abs(expected).max()
        )


@settings(max_examples=60)
@given(
    st.integers(1, 90),
    st.floats(0, 0.2),
    st.integers(0, 99),
    st.sampled_from([4, 8, 16]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(-200, 200),
)
def test_a_factor_solves_in_every_lane(n, density, seed, lanes, symmetric, double, signs, power):
    """Right-hand sides may also be far outside the range of single precision."""
    pattern, entries = matrices_of(n, density, lanes, seed, symmetric=symmetric, signs=signs)
    b = np.random.default_rng(seed).standard_normal((n, lanes)) * 10.0**power
    factor = EnsembleFactor.analyse(pattern, lanes, symmetric=symmetric, double=double)
    assert factor.set_up(entries).tolist() == [True] * lanes
    check(factor, pattern, entries, b, ROUNDING[double])


@settings(max_examples=20)
@given(
    st.integers(1, 60),
    st.integers(0, 99),
    st.sampled_from([4, 8, 16]),
    st.booleans(),
    st.booleans(),
)
def test_one_matrix_serves_all_lanes(n, seed, lanes, symmetric, double):
    pattern, entries = matrices_of(n, 0.1, 1, seed, symmetric=symmetric)
    b = np.random.default_rng(seed).standard_normal((n, lanes))
    factor = EnsembleFactor.analyse(
        pattern, lanes, symmetric=symmetric, double=double, constant=True
    )
    assert factor.set_up(entries).tolist() == [True]
    check(factor, pattern, entries, b, ROUNDING[double])


@pytest.mark.parametrize("double", [False, True])
def test_supernodes_of_all_widths_solve_a_plane(double, rng):
    """A grid has nodes from one unknown to a separator; the residual is one of rounding."""
    matrix = laplacian(40)
    pattern = pattern_of(matrix)
    entries = matrix.data[:, None] * np.exp(rng.standard_normal(8))
    b = rng.standard_normal((1600, 8))
    for symmetric in (True, False):
        factor = EnsembleFactor.analyse(pattern, 8, symmetric=symmetric, double=double)
        assert factor.set_up(entries).all()
        x = solve(factor, b)
        residual = b - (matrix @ x) * (entries[0] / matrix.data[0])
        assert np.linalg.norm(residual) <= (1e-13 if double else 1e-4) * np.linalg.norm(b)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "shape",
    ["diagonal", "arrow", "reversed arrow", "full", "disconnected", "band"],
)
def test_patterns_at_the_edges(shape, symmetric, rng):
    n = 17
    pattern = sp.lil_array((n, n))
    pattern.setdiag(1.0)
    if shape == "arrow":
        pattern[0, :] = pattern[:, 0] = 1.0
    elif shape == "reversed arrow":
        pattern[-1, :] = pattern[:, -1] = 1.0
    elif shape == "full":
        pattern[:, :] = 1.0
    elif shape == "disconnected":
        pattern[:5, :5] = pattern[5:9, 5:9] = pattern[12:, 12:] = 1.0
    elif shape == "band":
        pattern.setdiag(1.0, 1)
        pattern.setdiag(1.0, -1)
    pattern = sp.csr_array(pattern)
    noise = rng.standard_normal((n, n, 4))
    noise = noise + noise.transpose(1, 0, 2) if symmetric else noise
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    entries = noise[rows, pattern.indices] + np.where(rows == pattern.indices, 60.0, 0.0)[:, None]
    pattern = pattern_of(pattern)
    factor = EnsembleFactor.analyse(pattern, 4, symmetric=symmetric, double=True)
    assert factor.set_up(entries).all()
    check(factor, pattern, entries, rng.standard_normal((n, 4)), 1e-12)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_no_bit_of_a_lane_depends_on_its_neighbours_or_its_place(lanes, double, symmetric, rng):
    """In the other group, lanes have moved by one, and a neighbour has no factor."""
    pattern, entries = matrices_of(60, 0.1, lanes, 1, symmetric=symmetric)
    b = rng.standard_normal((60, lanes))
    factor = EnsembleFactor.analyse(pattern, lanes, symmetric=symmetric, double=double)
    assert factor.set_up(entries).all()
    x = solve(factor, b)
    moved = np.ascontiguousarray(np.roll(entries, 1, axis=1))
    moved[:, 0] = 1.0
    assert factor.set_up(moved).tolist() == [False] + [True] * (lanes - 1)
    np.testing.assert_array_equal(solve(factor, np.roll(b, 1, axis=1))[:, 1:], x[:, :-1])


def faults(pattern, entries):
    """Yield matrices without a factor; entries off the diagonal are spoilt with their mirrors."""
    rows = np.repeat(np.arange(pattern.rows), np.diff(pattern.offsets))
    off = np.flatnonzero(rows != pattern.columns)[0]
    mirror = np.flatnonzero((rows == pattern.columns[off]) & (pattern.columns == rows[off]))[0]
    for number in (np.nan, np.inf, -np.inf):
        for places in ([pattern.diagonal[0]], [pattern.diagonal[-1]], [off, mirror]):
            faulty = entries.copy()
            faulty[places] = number
            yield faulty
    yield np.zeros_like(entries)
    yield np.ones_like(entries)
    singular = entries.copy()
    singular[[pattern.diagonal[rows[off]], pattern.diagonal[pattern.columns[off]]]] = 1e-300
    yield singular


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_faulty_lane_is_marked_and_harms_no_neighbour(double, symmetric, rng):
    """The identity takes its place. It is well again when its matrix is."""
    pattern, entries = matrices_of(30, 0.1, 8, 3, symmetric=True)
    b = rng.standard_normal((30, 8))
    factor = EnsembleFactor.analyse(pattern, 8, symmetric=symmetric, double=double)
    factor.set_up(entries)
    x = solve(factor, b)
    for matrix in faults(pattern, entries[:, 5]):
        faulty = entries.copy()
        faulty[:, 5] = matrix
        usable = factor.set_up(faulty)
        assert usable.tolist() == [lane != 5 for lane in range(8)]
        y = solve(factor, b)
        np.testing.assert_allclose(y[:, 5], b[:, 5], rtol=1e-6)
        np.testing.assert_array_equal(y[:, usable], x[:, usable])
        assert factor.set_up(entries).all()
        np.testing.assert_array_equal(solve(factor, b), x)


@pytest.mark.parametrize("symmetric", [True, False])
def test_scaling_a_matrix_by_powers_of_two_changes_no_bit(symmetric, rng):
    """T A T is the same for A and D A D, from 1e-60 to 1e60: nothing leaves single precision."""
    pattern, entries = matrices_of(50, 0.1, 8, 4, symmetric=symmetric)
    b = rng.standard_normal((50, 8))
    d = 4.0 ** rng.integers(-50, 50, (50, 8))
    rows = np.repeat(np.arange(50), np.diff(pattern.offsets))
    factor = EnsembleFactor.analyse(pattern, 8, symmetric=symmetric)
    factor.set_up(entries)
    x = solve(factor, b)
    assert factor.set_up(d[rows] * entries * d[pattern.columns]).all()
    np.testing.assert_array_equal(solve(factor, d * b) * d, x)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_a_system_of_a_singular_matrix_that_has_solutions_gets_one(
    double, symmetric, constant, rng
):
    """The Laplacian of a graph with two parts: two pivots are zero, or next to it."""
    path = sp.diags_array([-1.0, -1.0], offsets=[-1, 1], shape=(40, 40)).tolil()
    path[19, 20] = path[20, 19] = 0.0
    matrix = sp.csr_array(path)
    matrix.eliminate_zeros()
    matrix = sp.csr_array(matrix - sp.diags_array(matrix.sum(axis=1)))
    matrix.sort_indices()
    pattern = pattern_of(matrix)
    entries = matrix.data[:, None] * np.array([[1.0] if constant else [1.0, 3.0, 1e-9, 1e9]])
    factor = EnsembleFactor.analyse(
        pattern, 4, symmetric=symmetric, double=double, constant=constant, singular=True
    )
    assert factor.set_up(entries).all()
    b = matrix @ rng.standard_normal((40, 4))
    x = solve(factor, b) * (entries[0] / matrix.data[0])
    np.testing.assert_allclose(matrix @ x, b, atol=1e-12 if double else 1e-4)


def refined(factor, matrix, b, steps):
    """Return the relative residual after steps of refinement, of one lane's matrix in all."""
    lanes = factor.lanes
    x = np.zeros_like(b)
    for _ in range(steps):
        r = b - matrix @ x
        x += solve(factor, np.repeat(r[:, None], lanes, axis=1))[:, -1]
    return np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_refinement_takes_away_the_shift_of_a_saddle_point(sign, stored, symmetric, rng):
    """The zero block may be stored or not. Each step has an error of the shift's size."""
    a = laplacian(10)
    constraint = sp.random_array((20, 100), density=0.1, rng=rng)
    matrix = sign * sp.block_array([[a, constraint.T], [constraint, None]], format="csr")
    if stored:
        matrix = (matrix + sp.diags_array(np.repeat([0.0, 1.0], [100, 20]))).tocsr()
        matrix.data[pattern_of(matrix).diagonal[100:]] = 0.0
    matrix.sort_indices()
    pattern, entries = pattern_of(matrix), np.repeat(matrix.data[:, None], 4, axis=1)
    factor = EnsembleFactor.analyse(pattern, 4, symmetric=symmetric)
    assert factor.set_up(entries).all()
    assert refined(factor, matrix, rng.standard_normal(120), 6) <= 1e-10


def test_an_indefinite_and_a_nonsymmetric_matrix_of_a_plane_need_no_pivoting(rng):
    n = 30
    shifted = sp.csr_array(laplacian(n) - 1.1 * sp.eye_array(n**2))
    wind = sp.diags_array([-1.0, 1.0], offsets=[-1, 1], shape=(n, n))
    advected = sp.csr_array(laplacian(n) + 3.0 * sp.kron(sp.eye_array(n), wind))
    for matrix, symmetric in ((shifted, True), (advected, False)):
        matrix.sort_indices()
        factor = EnsembleFactor.analyse(pattern_of(matrix), 4, symmetric=symmetric)
        assert factor.set_up(np.repeat(matrix.data[:, None], 4, axis=1)).all()
        assert refined(factor, matrix, rng.standard_normal(n**2), 5) <= 1e-10


def test_flops_and_bytes_of_a_full_matrix_are_those_of_a_dense_factor():
    """A column of c numbers: a division, c products with it, c (c + 1) flops of a triangle."""
    n = 12
    full = pattern_of(sp.csr_array(np.ones((n, n))))
    below = np.arange(n)
    symmetric = EnsembleFactor.analyse(full, 4, symmetric=True)
    assert symmetric.flops == 4 * (below * (below + 1) + below + 1).sum()
    assert symmetric.bytes >= 4 * 4 * n * (n + 1) // 2
    general = EnsembleFactor.analyse(full, 8, symmetric=False, double=True)
    assert general.flops == 8 * (2 * below**2 + below + 1).sum()
    assert general.bytes >= 8 * 8 * n * (n + 1)


def test_a_narrow_band_is_eliminated_in_its_order():
    """The operations of a band of two numbers below each pivot, fewer at the end."""
    n, below = 1000, np.minimum(2, np.arange(1000)[::-1])
    band = sp.diags_array([np.ones(n - abs(k)) for k in range(-2, 3)], offsets=range(-2, 3))
    factor = EnsembleFactor.analyse(pattern_of(band.tocsr()), 4, symmetric=True)
    assert factor.flops == 4 * (below * (below + 1) + below + 1).sum()
