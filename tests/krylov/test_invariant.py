# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The distance of a recycled space from the wanted invariant space."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import refill, sequence, to_mat, to_vec

from kryloset.krylov import GCRODR, delta, wanted_space


def preconditioner(mat, name):
    pc = PETSc.PC().create(mat.comm)
    pc.setOperators(mat)
    pc.setType(name)
    pc.setUp()
    return pc


@pytest.mark.parametrize("name", ["none", "jacobi"])
def test_the_wanted_space_is_that_of_the_smallest_eigenvectors(name):
    matrix = sequence(12, 1)[0]
    mat = to_mat(matrix)
    found = wanted_space(mat, preconditioner(mat, name), 4)
    dense = matrix.toarray()
    scale = np.diag(dense.diagonal()) if name == "jacobi" else None
    exact = np.linalg.qr(scipy.linalg.eigh(dense, scale)[1][:, :4])[0]
    assert found.shape == (144, 4)
    assert delta(found, exact) < 1e-5


def test_the_wanted_space_of_a_nonsymmetric_operator_is_invariant():
    system = sequence(12, 1, wind=20.0)[0]
    mat = to_mat(system)
    pc = preconditioner(mat, "ilu")
    space = wanted_space(mat, pc, 6)
    x, y = mat.createVecs()
    images = []
    for column in space.T:
        x.setArray(system @ column)
        pc.apply(x, y)
        images.append(y.getArray().copy())
    assert delta(np.linalg.qr(np.array(images).T)[0], space) < 1e-4


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 4), st.floats(0.0, 1.0), st.integers(0, 100))
def test_delta_is_a_sine(q, more, sine, seed):
    """A space is tilted by a known angle; only its span matters."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((30, q + more + 1)))[0]
    wanted, rest, other = basis[:, :q], basis[:, q : q + more], basis[:, -1]
    tilted = wanted.copy()
    tilted[:, 0] = np.sqrt(1 - sine**2) * wanted[:, 0] + sine * other
    space = np.hstack([tilted, rest])
    mixed = space @ (rng.standard_normal((q + more, q + more)) + 10 * np.eye(q + more))
    assert delta(wanted, mixed) == pytest.approx(sine, abs=1e-7)


def test_recycling_brings_the_space_near_the_wanted_one(rng):
    systems = sequence(20, 6)
    mat = to_mat(systems[0])
    context = GCRODR(40, 20)
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setType("python")
    ksp.setPythonContext(context)
    ksp.getPC().setType("ilu")
    ksp.setTolerances(rtol=1e-10)
    distances = []
    for system in systems:
        refill(mat, system)
        b = to_vec(mat, rng.standard_normal(400))
        ksp.solve(b, b.duplicate())
        distances.append(delta(wanted_space(mat, ksp.getPC(), 5), context.space))
    assert max(distances[1:]) < 0.1
    assert delta(wanted_space(mat, ksp.getPC(), 5), rng.standard_normal((400, 20))) > 0.9


def test_two_processes_are_refused():
    class TwoRanks:
        class comm:
            size = 2

    with pytest.raises(ValueError, match="one process"):
        wanted_space(TwoRanks(), None, 3)
