# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""PETSc's options pass through to the KSP and its preconditioner, and leave no trace."""

import json
from pathlib import Path

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import Automatic, Recording, SequenceSolver, solve_or_escalate
from ranks import run_on_ranks

SWEEPS = {"mg_levels_ksp_type": "richardson", "mg_levels_ksp_max_it": 4}


def iterations(solver, systems, b):
    """Solve all systems, checked, in one Mat that is refilled."""
    mat, state, counts = to_mat(systems[0]), solver.init(), []
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.converged
        assert np.linalg.norm(b - system @ result.solution.getArray()) <= 1e-8 * np.linalg.norm(b)
        counts.append(result.iterations)
    return counts


@pytest.mark.parametrize(
    ("method", "preconditioner", "options"),
    [
        ("cg", "gamg", SWEEPS),
        ("cg", "icc", {"pc_factor_mat_ordering_type": "nd"}),
        ("gmres", "sor", {"pc_sor_its": 3, "ksp_gmres_modifiedgramschmidt": ""}),
        ("bicgstab", "asm", {"sub_pc_type": "lu"}),
    ],
)
def test_they_change_every_solve_of_a_sequence(method, preconditioner, options, rng):
    systems, b = sequence(16, 3), rng.standard_normal(256)
    plain = iterations(SequenceSolver(method, preconditioner), systems, b)
    given = SequenceSolver(method, preconditioner, petsc_options=options)
    changed = iterations(given, systems, b)
    assert all(one != other for one, other in zip(plain, changed, strict=True))
    # No option stays in the database.
    assert iterations(SequenceSolver(method, preconditioner), systems, b) == plain
    assert not [name for name in PETSc.Options().getAll() if name.startswith("kryloset")]


def test_a_method_in_python_has_them(rng):
    systems, b = [laplacian(16)], rng.standard_normal(256)
    solver = SequenceSolver("gcrodr", "gamg")
    assert iterations(solver, systems, b) != iterations(
        solver.change(petsc_options=SWEEPS), systems, b
    )


def test_a_preconditioner_that_is_reused_has_them_too(rng):
    systems, b = sequence(16, 4), rng.standard_normal(256)
    fixed = SequenceSolver("cg", "gamg", refresh=(0,))
    plain = iterations(fixed, systems, b)
    changed = iterations(fixed.change(petsc_options=SWEEPS), systems, b)
    assert all(other != one for one, other in zip(plain, changed, strict=True))
    shifted = SequenceSolver(
        "cg", "cholesky", refresh=(0,), petsc_options={"pc_factor_mat_ordering_type": "rcm"}
    )
    assert max(iterations(shifted, systems, b)) < 20


def test_a_direct_solve_has_them(rng):
    options = {"pc_factor_mat_ordering_type": "rcm"}
    if PETSc.Sys.hasExternalPackage("mumps"):
        options = {"mat_mumps_icntl_14": 60}
    assert iterations(SequenceSolver("direct", petsc_options=options), [laplacian(9)], np.ones(81))


def test_an_option_that_petsc_does_not_read_is_named(rng):
    options = {"pc_gamg_threshold": 0.1, "pc_jacobi_typ": "l1"}
    solver = SequenceSolver("cg", "jacobi", petsc_options=options)
    mat = to_mat(laplacian(6))
    with pytest.raises(KrylosetError, match="pc_gamg_threshold, pc_jacobi_typ with method cg"):
        solver.solve(mat, to_vec(mat, np.ones(36)), solver.init())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ksp_type": "cg"}, "use the setting method"),
        ({"ksp_rtol": 1e-3}, "use the setting tolerance"),
        ({"ksp_atol": 1.0}, "ksp_atol.*sets this itself"),
        ({"ksp_norm_type": "none"}, "ksp_norm_type.*sets this itself"),
        ({"KSP_Diagonal_Scale": ""}, "sets this itself"),
        ({"ksp_gcrodr_recycle": 3}, "sets this itself"),
        ({"-pc_sor_its": 3}, "without a leading hyphen"),
        ({"pc_factor_levels": 2}, "use the setting fill"),
        ({"mg_levels_pc_type": "pbjacobi"}, "keeps the blocks of the first matrix"),
        ({"sub_pc_factor_in_place": True}, "in_place.*sets this itself"),
        ({"pc_sor_its": [3]}, "pc_sor_its has a value of the type list"),
        ({3: "pc_sor_its"}, "petsc_options 3: write the option's name"),
        (["pc_sor_its"], "petsc_options has the type list"),
    ],
)
def test_options_that_break_a_promise_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SequenceSolver("cg", "icc", petsc_options=options)


def test_escalation_leaves_them_behind(rng):
    solver = SequenceSolver(
        "cg", "gamg", max_iterations=1, tolerance=1e-10, petsc_options={"mg_levels_ksp_max_it": 1}
    )
    matrix, b = laplacian(16), rng.standard_normal(256)
    mat = to_mat(matrix)
    result, _, attempts = solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())
    assert result.converged and attempts[0].method == "cg"


def test_a_recording_has_petsc_options_only_if_some_are_given(rng):
    solver = SequenceSolver("cg", "gamg", refresh="rental")
    systems, b = sequence(16, 3), rng.standard_normal(256)
    for options in ({}, SWEEPS):
        given = Automatic(strategies=(solver.change(petsc_options=options),))
        mat, state = to_mat(systems[0]), given.init()
        _, state = given.solve(mat, to_vec(mat, b), state)
        text = state.recording.to_json()
        assert ("petsc_options" in json.loads(text)["ways"][0]) == bool(options)
        assert Recording.from_json(text) == state.recording


def test_a_value_that_petsc_refuses_is_an_error():
    solver = SequenceSolver("cg", "sor", petsc_options={"pc_sor_its": "many"})
    mat = to_mat(laplacian(6))
    with pytest.raises(KrylosetError, match=r"petsc_options: PETSc refuses a value: .*many"):
        solver.solve(mat, to_vec(mat, np.ones(36)), solver.init())


@pytest.mark.parametrize(
    ("method", "preconditioner", "option"),
    [
        ("gmres", "ilu", "pc_factor_mat_ordering_type"),
        ("cg", "gamg", "mg_levels_pc_type"),
        ("cg", "asm", "sub_ksp_type"),
        ("direct", "lu", "pc_factor_mat_solver_type"),
    ],
)
def test_a_type_that_petsc_does_not_have_is_an_error(method, preconditioner, option):
    """And no set-up that failed, after which every system would escalate."""
    solver = SequenceSolver(method, preconditioner, petsc_options={option: "none_such"})
    mat = to_mat(laplacian(6))
    with pytest.raises(KrylosetError, match=r"petsc_options: PETSc refuses a value: .*none_such"):
        solve_or_escalate(solver, mat, to_vec(mat, np.ones(36)), solver.init())


def test_factors_may_be_of_another_package(rng):
    options = {"pc_factor_mat_solver_type": "petsc"}
    iterations(SequenceSolver("direct", petsc_options=options), sequence(9, 3), np.ones(81))


@pytest.mark.mpi
def test_blocks_on_two_ranks_have_them():
    run_on_ranks(2, Path(__file__).with_name("petsc_options_two_ranks.py"))
