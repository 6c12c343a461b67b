# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Loops by hand, with which the benches compare."""

import sys

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest

from kryloset.bench.making import Account, Sequential, Stopped
from kryloset.bench.peers import by_factor, choose_peers
from kryloset.bench.sequences import Operator, make_sequence
from kryloset.errors import KrylosetError
from kryloset.problems import OperatorTraits

PACKAGES = {"mumps": "petsc4py", "petsc": "petsc4py", "pardiso": "pydiso", "cholmod": "cvxopt"}

#: A sequence of each kind: definite, indefinite, and unsymmetric matrices.
KINDS = {"LLᵀ": "darcy", "LDLᵀ": "darcy", "LU": "wind"}


@pytest.mark.parametrize("factor", KINDS)
@pytest.mark.parametrize("package", PACKAGES)
def test_factors_follow_a_matrix_that_is_refilled_and_are_kept_while_it_is_not(package, factor):
    pytest.importorskip(PACKAGES[package])
    if package == "cholmod" and factor != "LLᵀ":
        pytest.skip("CHOLMOD is for definite matrices")
    systems = make_sequence(KINDS[factor], 12, 3, drawn=3)
    operator, peer = Operator(systems, MPI.COMM_SELF), by_factor(package, factor, 1e-8)
    state = peer.init()
    sign = -1.0 if factor == "LDLᵀ" else 1.0
    for number in (0, 1, 1, 2):
        mat, rhs = operator.load(number)
        mat.scale(sign)
        for scale in (1.0, 3.0):
            result, state = peer.solve(mat, scale * rhs, state)
            assert result.converged
            x = sign * result.solution.getArray()
            np.testing.assert_allclose(systems.matrices[number] @ x, scale * systems.rhs, rtol=1e-9)


def test_a_matrix_that_cholesky_cannot_factorise_is_a_failure_and_no_crash():
    mat = PETSc.Mat().createAIJ(2, comm=MPI.COMM_SELF)
    for place, value in {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 2.0, (1, 1): 1.0}.items():
        mat.setValue(*place, value)
    mat.assemble()
    rhs = mat.createVecLeft()
    rhs.set(1.0)
    for package in ("pardiso", "cholmod"):
        pytest.importorskip(PACKAGES[package])
        solve = Sequential(by_factor(package, "LLᵀ", 1e-8))
        solve.account = Account()
        with pytest.raises(Stopped, match="preconditioner_failed"):
            solve(mat, rhs)


@pytest.mark.parametrize(("package", "module"), [("pardiso", "pydiso"), ("cholmod", "cvxopt")])
def test_a_missing_package_is_named_with_what_installs_it(package, module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    mat = PETSc.Mat().createAIJ(1, comm=MPI.COMM_SELF)
    mat.setValue(0, 0, 1.0)
    mat.assemble()
    peer = by_factor(package, "LLᵀ", 1e-8)
    with pytest.raises(KrylosetError, match=f"{module}.* is not installed: `make peers`"):
        peer.solve(mat, mat.createVecLeft(), peer.init())


def test_each_kind_of_matrix_has_the_factors_that_are_made_for_it():
    labels = {}
    for symmetric, definite in ((True, True), (True, False), (False, False)):
        traits = OperatorTraits(symmetric=symmetric, definite=definite)
        labels[symmetric, definite] = {p.label for p in choose_peers(traits, 1e-8).values()}
    assert {"PETSc's LLᵀ", "CHOLMOD LLᵀ", "CG + ICC"} <= labels[True, True]
    assert {"PETSc's LDLᵀ", "MKL PARDISO LDLᵀ", "MUMPS LDLᵀ"} <= labels[True, False]
    assert {"PETSc's LU", "MKL PARDISO LU", "BiCGStab(2) + ILU"} <= labels[False, False]
