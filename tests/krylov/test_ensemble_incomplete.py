# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Incomplete factors of an ensemble are those of its lanes, and no lane sees another."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import sequence, to_mat

from kryloset.krylov.ensemble.factor import can_factor
from kryloset.krylov.ensemble.incomplete import IncompleteCholesky
from kryloset.krylov.ensemble.pattern import Pattern

pytestmark = pytest.mark.skipif(not can_factor(), reason="needs real numbers and a C compiler")

KERSHAW = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
"""Positive definite, with a negative pivot of IC(0) (D. Kershaw, J. Comput. Phys. 26, 1978)."""


def factors(matrices, lanes=4):
    """Return the factors of matrices with one pattern, and which are usable."""
    made = IncompleteCholesky.analyse(Pattern.of(to_mat(matrices[0])), len(matrices), lanes)
    return made, made.set_up(np.array([matrix.data for matrix in matrices]).T.copy())


def apply(made, x):
    y = np.empty_like(x)
    made.apply(x, y)
    return y


def random(rows, lanes):
    return np.random.default_rng(0).standard_normal((rows, lanes))


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("constant", [False, True])
def test_a_lane_is_the_incomplete_factor_of_petsc(lanes, constant):
    matrices = sequence(9, 1 if constant else lanes)
    made, usable = factors(matrices, lanes)
    assert usable.all()
    x = random(81, lanes)
    y = apply(made, x)
    for lane in range(lanes):
        mat = to_mat(matrices[0 if constant else lane])
        pc = PETSc.PC().create(PETSc.COMM_SELF)
        pc.setType("icc")
        pc.setOperators(mat)
        right, expected = mat.createVecs()
        right.array = x[:, lane]
        pc.apply(right, expected)
        np.testing.assert_allclose(y[:, lane], expected.array, atol=1e-5 * abs(y).max())


def test_without_fill_the_factor_is_complete():
    line = sp.csr_array(sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(50, 50)))
    made, _ = factors([line] * 4)
    x = random(50, 4)
    np.testing.assert_allclose(line @ apply(made, x), x, atol=1e-5)


def test_the_action_is_symmetric_and_positive_definite():
    made, _ = factors(sequence(6, 4))
    # Column l of the inverse in lane i, by unit vectors.
    columns = [apply(made, np.repeat(unit[:, None], 4, axis=1)) for unit in np.eye(36)]
    for lane in range(4):
        inverse = np.array(columns)[:, :, lane]
        np.testing.assert_allclose(inverse, inverse.T, atol=1e-6)
        assert np.linalg.eigvalsh(inverse).min() > 0


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_numbers_outside_of_single_precision_change_nothing(size, constant):
    matrices = sequence(6, 1 if constant else 4)
    x = random(36, 4)
    expected = apply(factors(matrices)[0], x)
    # D A D has the factor D L; here entries of D go from 1e-15 to 1e15.
    spread = sp.diags_array(np.geomspace(1e-15, 1e15, 36))
    scaled = [sp.csr_array(size * (spread @ matrix @ spread)) for matrix in matrices]
    made, usable = factors(scaled)
    assert usable.all()
    d = spread.diagonal()[:, None]
    np.testing.assert_allclose(d * apply(made, d * x) * size, expected, rtol=0, atol=1e-5)
    for huge in (1e-200, 1e200):
        y = apply(made, huge * (d * x)) / huge
        np.testing.assert_allclose(d * y * size, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e3])
@pytest.mark.parametrize("place", [0, -2])
def test_a_wrong_lane_harms_no_neighbour(wrong, place):
    # On the diagonal, and below it.
    matrices = sequence(6, 4)
    x = random(36, 4)
    expected = apply(factors(matrices)[0], x)
    matrices[2].data[place] = wrong
    made, usable = factors(matrices)
    y = apply(made, x)
    others = [0, 1, 3]
    np.testing.assert_array_equal(usable, [True, True, False, True])
    np.testing.assert_array_equal(y[:, others], expected[:, others])
    np.testing.assert_allclose(y[:, 2], x[:, 2], rtol=1e-6)


def test_a_negative_pivot_is_cured_by_a_shift_of_that_lane_alone():
    pattern = sp.csr_array(KERSHAW)
    fine = pattern + 2 * sp.eye_array(4)
    x = random(4, 4)
    expected = apply(factors([fine] * 4)[0], x)
    made, usable = factors([fine, pattern, fine, fine])
    y = apply(made, x)
    assert usable.all()
    assert x[:, 1] @ y[:, 1] > 0
    np.testing.assert_array_equal(y[:, [0, 2, 3]], expected[:, [0, 2, 3]])


def test_right_hand_sides_of_zero_give_zero():
    made, _ = factors(sequence(6, 4))
    x = random(36, 4)
    x[:, 1] = 0
    y = apply(made, x)
    assert not y[:, 1].any()
    assert np.isfinite(y).all()
