# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling BiCGStab(2): the projected operator, and GCRO-DR after a breakdown."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from systems import refill, sequence, to_mat, to_vec

from kryloset.krylov import RecyclingBiCGStab
from kryloset.krylov.methods.recycling_bicgstab import HARVESTS, STALE, Pace

HARVESTED = Pace(harvests=0)


def make(mat, context, pc="none", rtol=1e-8, max_it=10_000):
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    if context is None:
        ksp.setType("bcgsl")
    else:
        ksp.setType("python")
        ksp.setPythonContext(context)
    ksp.getPC().setType(pc)
    ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_it)
    ksp.setConvergenceHistory(length=5000)
    return ksp


def test_an_invariant_space_leaves_bicgstab_on_the_other_eigenvalues(rng):
    small, others = np.logspace(-6, -3, 6), np.linspace(1, 3, 94)
    b = rng.standard_normal(100)
    mat = to_mat(sp.diags_array(np.concatenate([small, others])))
    context = RecyclingBiCGStab(20, 10)
    context.space = np.asfortranarray(np.eye(100)[:, :6] @ rng.standard_normal((6, 6)))
    context.pace = HARVESTED
    ksp = make(mat, context)
    rhs = to_vec(mat, b)
    ksp.solve(rhs, rhs.duplicate())

    deflated = to_mat(sp.diags_array(others))
    scale = np.linalg.norm(b) / np.linalg.norm(b[6:])
    reference = make(deflated, None, rtol=1e-8 * scale)
    rhs = to_vec(deflated, b[6:])
    reference.solve(rhs, rhs.duplicate())
    # PETSc's logs every other step.
    its, expected = ksp.getIterationNumber(), reference.getConvergenceHistory()
    assert 0 < its <= reference.getIterationNumber()
    assert ksp.getResidualNorm() == pytest.approx(expected[its // 2], rel=1e-5)


@pytest.mark.parametrize("pc", ["none", "jacobi", "ilu"])
def test_it_saves_iterations_on_a_nonsymmetric_sequence(pc, rng, residual):
    systems, b = sequence(30, 8, wind=5.0), rng.standard_normal(900)
    mat = to_mat(systems[0])
    ours, theirs = make(mat, RecyclingBiCGStab(40, 15), pc), make(mat, None, pc)
    found = []
    for system in systems:
        refill(mat, system)
        x = to_vec(mat, b)
        theirs.solve(to_vec(mat, b), x)
        ours.solve(to_vec(mat, b), x)
        assert residual(system, x, b) <= 1e-8
        assert ours.getResidualNorm() == pytest.approx(
            np.linalg.norm(b - system @ x.getArray()), rel=1e-6
        )
        found.append((ours.getIterationNumber(), theirs.getIterationNumber()))
    mine, petsc = np.array(found[HARVESTS:]).T
    assert mine.mean() < 0.75 * petsc.mean()


@pytest.mark.parametrize("steps", [0, 6])
def test_gcrodr_takes_over_when_bicgstab_breaks_down(steps, rng, residual, monkeypatch):
    system, b = sequence(30, 1, wind=5.0)[0], rng.standard_normal(900)
    mat = to_mat(system)
    context = RecyclingBiCGStab(40, 15)
    context.space = np.asfortranarray(rng.standard_normal((900, 15)))
    context.pace = HARVESTED
    improve, calls = RecyclingBiCGStab._improve, []

    def break_down(self, ksp, its, norm, left):
        calls.append(its)
        return steps > 0 and improve(self, ksp, its, norm, min(left, steps))

    monkeypatch.setattr(RecyclingBiCGStab, "_improve", break_down)
    ksp = make(mat, context, "ilu")
    x = to_vec(mat, b)
    ksp.solve(to_vec(mat, b), x)
    assert calls[0] == 0
    assert ksp.getConvergedReason() > 0
    assert residual(system, x, b) <= 1e-8
    history = ksp.getConvergenceHistory()
    assert len(history) >= ksp.getIterationNumber() > steps


def test_the_iteration_limit_is_kept(rng):
    mat = to_mat(sequence(30, 1, wind=5.0)[0])
    context = RecyclingBiCGStab(20, 5)
    context.space = np.asfortranarray(rng.standard_normal((900, 5)))
    context.pace = HARVESTED
    b = to_vec(mat, rng.standard_normal(900))
    ksp = make(mat, context, max_it=12)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
    assert ksp.getIterationNumber() == 12


@given(st.lists(st.integers(50, 60), min_size=1, max_size=50))
def test_gcrodr_solves_the_first_systems_and_later_ones_only_when_iterations_grow(iterations):
    pace = Pace()
    for _ in range(HARVESTS):
        assert pace.harvests > 0
        pace = pace.after_harvest()
    for its in iterations:
        assert pace.harvests == 0
        pace = pace.after(its)
    assert pace == Pace(harvests=0, level=iterations[0])


def test_a_stale_space_is_harvested_once_and_judged_anew():
    pace = Pace(harvests=0, level=100).after(int(STALE * 100) + 1)
    assert pace.harvests == 1
    pace = pace.after_harvest()
    assert pace == Pace(harvests=0, level=0)
    assert pace.after(80) == Pace(harvests=0, level=80)
