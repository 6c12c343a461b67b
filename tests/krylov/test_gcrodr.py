# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""GCRO-DR as a PETSc KSP: the theorems of the method and the behaviour of a KSP."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov import (
    GCRODR,
    GMRESDR,
    RecyclingBiCGStab,
    RecyclingCG,
    RecyclingMINRES,
)

SIDES = {"left": PETSc.PC.Side.LEFT, "right": PETSc.PC.Side.RIGHT}


def make(mat, context, pc="none", side=None, rtol=1e-10, max_it=10_000):
    """Return a KSP that runs the context, preconditioned from its default side if none is given."""
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setType("python")
    ksp.setPythonContext(context)
    if side is not None:
        ksp.setPCSide(SIDES[side])
    ksp.getPC().setType(pc)
    ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_it)
    ksp.setConvergenceHistory(length=5000)
    return ksp


def gmres(mat, pc, side, restart, rtol=1e-10, max_it=10_000):
    """Return PETSc's GMRES, orthogonalised as carefully."""
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setOptionsPrefix("reference_")
    options = PETSc.Options("reference_")
    options["ksp_gmres_cgs_refinement_type"] = "refine_always"
    ksp.setType("gmres")
    ksp.setFromOptions()
    del options["ksp_gmres_cgs_refinement_type"]
    ksp.setGMRESRestart(restart)
    ksp.setPCSide(SIDES[side])
    ksp.getPC().setType(pc)
    ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_it)
    ksp.setConvergenceHistory(length=5000)
    return ksp


def preconditioned(mat, pc, side, vectors):
    """Return M^-1 A or A M^-1 times the columns."""
    columns = []
    a, b = mat.createVecs()
    for column in vectors.T:
        a.setArray(column)
        if side == "left":
            mat.mult(a, b)
            pc.apply(b, a)
        else:
            pc.apply(a, b)
            mat.mult(b, a)
        columns.append(a.getArray().copy())
    return np.array(columns).T


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("pc", ["none", "ilu"])
def test_arnoldi_relation_and_orthogonality_through_a_sequence(monkeypatch, rng, pc, side):
    """B [U V_j] = [C V_j+1] [I C'BV; 0 H] and [C V]'[C V] = I at the end of every cycle."""
    systems = sequence(20, 15, wind=1.0)
    mat = to_mat(systems[0])
    context = GCRODR(12, 5)
    ksp = make(mat, context, pc, side)
    orthogonality, arnoldi, images, cycles = [], [], [], []
    update = GCRODR._update_space

    def watch(self, steps, images_needed=True, **named):
        held = self._held
        w = self._block[:, : held + steps + 1].copy()
        u = self._u[:, :held].copy()
        g = self._coefficients[: held + steps + 1, 1 : steps + 1]
        orthogonality.append(abs(w.conj().T @ w - np.eye(held + steps + 1)).max())
        v = w[:, held : held + steps]
        bv = preconditioned(mat, ksp.getPC(), side, v)
        arnoldi.append(abs(bv - w @ g).max() / np.linalg.norm(bv))
        if held:
            images.append(abs(preconditioned(mat, ksp.getPC(), side, u) - w[:, :held]).max())
        cycles.append(held)
        update(self, steps, **named)

    monkeypatch.setattr(GCRODR, "_update_space", watch)
    b = to_vec(mat, rng.standard_normal(400))
    x = b.duplicate()
    for system in systems:
        refill(mat, system)
        ksp.solve(b, x)
        assert ksp.getConvergedReason() > 0
    assert max(cycles) == 5 and len(cycles) > 30
    assert max(orthogonality) < 1e-13
    assert max(arnoldi) < 1e-14
    assert max(images) < 1e-11  # rounding x the largest ||u||, some hundreds


@pytest.mark.parametrize("pc", ["none", "jacobi", "ilu", "sor"])
def test_equals_gmres_while_nothing_is_recycled_and_the_cycle_not_full(rng, pc):
    mat = to_mat(sequence(20, 1, wind=2.0)[0])
    b = to_vec(mat, rng.standard_normal(400))
    x, y = b.duplicate(), b.duplicate()
    ours, theirs = make(mat, GCRODR(100, 10), pc, "right"), gmres(mat, pc, "right", 100)
    ours.solve(b, x)
    theirs.solve(b, y)
    ours_norms, their_norms = ours.getConvergenceHistory(), theirs.getConvergenceHistory()
    assert ours.getIterationNumber() == theirs.getIterationNumber() < 100
    # Ours ends with the computed norm, theirs with an estimate. They differ by rounding of b - A x.
    np.testing.assert_allclose(ours_norms, their_norms, rtol=1e-8, atol=1e-14 * ours_norms[0])
    assert (x - y).norm() <= 1e-9 * y.norm()


def test_directions_in_x_serve_better_than_those_in_m_x_when_m_changes(rng):
    systems, b = sequence(50, 6), rng.standard_normal(2500)
    mat = to_mat(systems[0])
    means = {}
    for side in SIDES:
        ksp, steps = make(mat, GCRODR(40, 20), "ilu", side, rtol=1e-8), []
        for system in systems:
            refill(mat, system)
            ksp.solve(to_vec(mat, b), to_vec(mat, b))
            steps.append(ksp.getIterationNumber())
        means[side] = np.mean(steps[1:])
    assert means["left"] < 0.9 * means["right"]


# Flexible preconditioning


def inner_iteration(ksp, steps=5):
    """Precondition by a few steps of GMRES, which is another operator each time."""
    pc = ksp.getPC()
    pc.setType("ksp")
    inside = pc.getKSP()
    inside.setType("gmres")
    inside.getPC().setType("jacobi")
    inside.setTolerances(rtol=1e-12, max_it=steps)
    inside.setConvergenceTest(lambda _ksp, its, _norm: its >= steps)


@pytest.mark.parametrize("pc", ["none", "ilu"])
def test_flexible_equals_right_preconditioned_gmres_while_m_stays(rng, pc):
    mat = to_mat(sequence(20, 1, wind=2.0)[0])
    b = to_vec(mat, rng.standard_normal(400))
    x, y = b.duplicate(), b.duplicate()
    ours, theirs = make(mat, GCRODR(100, 10, flexible=True), pc), gmres(mat, pc, "right", 100)
    ours.solve(b, x)
    theirs.solve(b, y)
    norms, expected = ours.getConvergenceHistory(), theirs.getConvergenceHistory()
    assert ours.getIterationNumber() == theirs.getIterationNumber() < 100
    np.testing.assert_allclose(norms, expected, rtol=1e-8, atol=1e-14 * norms[0])
    assert (x - y).norm() <= 1e-9 * y.norm()


def test_flexible_arnoldi_relation_with_a_preconditioner_that_changes(monkeypatch, rng):
    """A [U Z_j] = [C V_j+1] G for any Z."""
    systems = sequence(20, 6, wind=1.0)
    mat = to_mat(systems[0])
    ksp = make(mat, GCRODR(12, 5, flexible=True))
    inner_iteration(ksp)
    errors, held = [], []
    update = GCRODR._update_space

    def watch(self, steps, **named):
        size = self._held + steps
        w = self._block[:, : size + 1]
        g = np.zeros((size + 1, size), dtype=w.dtype)
        g[range(self._held), range(self._held)] = 1.0
        g[:, self._held :] = self._coefficients[: size + 1, 1 : steps + 1]
        image = system @ np.hstack([self._u[:, : self._held], self._z[:, :steps]])
        errors.append(abs(image - w @ g).max() / np.linalg.norm(image))
        errors.append(abs(w.conj().T @ w - np.eye(size + 1)).max())
        held.append(self._held)
        update(self, steps, **named)

    monkeypatch.setattr(GCRODR, "_update_space", watch)
    b = to_vec(mat, rng.standard_normal(400))
    for system in systems:
        refill(mat, system)
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
    assert max(held) == 5
    assert max(errors) < 1e-12


def test_flexible_recycling_saves_steps_with_an_inner_iteration(rng, residual):
    systems, b = sequence(40, 6), rng.standard_normal(1600)
    mat = to_mat(systems[0])
    ksp = make(mat, GCRODR(20, 8, flexible=True), rtol=1e-9)
    inner_iteration(ksp, 2)
    steps, x = [], to_vec(mat, b)
    for system in systems:
        refill(mat, system)
        ksp.solve(to_vec(mat, b), x)
        assert residual(system, x, b) <= 1e-9
        steps.append(ksp.getIterationNumber())
    assert max(steps[2:]) < 0.85 * steps[0]


def test_flexible_from_the_left_is_refused():
    ksp = make(to_mat(laplacian(5)), GCRODR(flexible=True), side="left")
    with pytest.raises(PETSc.Error) as caught:
        ksp.setUp()
    assert "preconditions from the right" in str(caught.value.__cause__)


# Both pencils


def test_the_pencils_agree_while_nothing_is_recycled(monkeypatch, rng):
    """Without a space W'V is the identity, so both give the same first space. Later they differ."""
    mat = to_mat(sequence(20, 1, wind=1.0)[0])
    b = to_vec(mat, rng.standard_normal(400))
    norms = {}
    for pencil in ("a", "b"):
        ksp = make(mat, GCRODR(20, 6, pencil=pencil))
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
        norms[pencil] = ksp.getConvergenceHistory()
    # Two cycles: the first space is used in the second one.
    np.testing.assert_allclose(norms["a"][:34], norms["b"][:34], rtol=1e-6)
    assert len(norms["a"]) != len(norms["b"])


def test_the_exact_pencil_saves_iterations(rng):
    systems, b = sequence(40, 5), rng.standard_normal(1600)
    mat = to_mat(systems[0])
    means = {}
    for pencil in ("a", "b"):
        ksp, steps = make(mat, GCRODR(40, 20, pencil=pencil), "ilu", rtol=1e-8), []
        for system in systems:
            refill(mat, system)
            ksp.solve(to_vec(mat, b), to_vec(mat, b))
            steps.append(ksp.getIterationNumber())
        means[pencil] = np.mean(steps[1:])
    assert means["a"] < 0.9 * means["b"]


def test_an_unknown_pencil_is_refused():
    with pytest.raises(ValueError, match="pencils a and b"):
        GCRODR(pencil="c")


# A space that does not help


def test_a_space_that_costs_iterations_is_set_aside(rng):
    """A system that GMRES solves in one cycle, and rotations that share no slow vectors."""
    n = 400
    context = GCRODR(30, 20)
    spectrum = np.concatenate([np.logspace(-2, 0, 22), np.ones(n - 22)])
    mat = to_mat(sp.csr_array(np.ones((n, n))))
    ksp = make(mat, context, rtol=1e-8)
    used, steps = [], []
    for _ in range(12):
        q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        refill(mat, sp.csr_array(q @ np.diag(spectrum) @ q.T))
        b = to_vec(mat, rng.standard_normal(n))
        ksp.solve(b, b.duplicate())
        used.append(context.counts.recycled > 0)
        steps.append(ksp.getIterationNumber())
    assert used == [False, True, True, True] + 8 * [False]
    assert max(steps[4:]) < min(steps[1:4])


def test_equals_restarted_gmres_when_recycling_is_off(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    x = b.duplicate()
    ours, theirs = make(mat, GCRODR(10, 0), "jacobi", "right"), gmres(mat, "jacobi", "right", 10)
    for ksp in (ours, theirs):
        ksp.solve(b, x)
    assert ours.getIterationNumber() == theirs.getIterationNumber() > 20


@pytest.mark.parametrize("steps", [1, 7, 25])
def test_left_iterates_are_those_of_left_gmres(rng, steps):
    mat = to_mat(sequence(20, 1, wind=2.0)[0])
    b = to_vec(mat, rng.standard_normal(400))
    x, y = b.duplicate(), b.duplicate()
    make(mat, GCRODR(100, 10), "ilu", "left", max_it=steps).solve(b, x)
    gmres(mat, "ilu", "left", 100, max_it=steps).solve(b, y)
    assert (x - y).norm() <= 1e-11 * y.norm()


@pytest.mark.parametrize("side", SIDES)
def test_an_invariant_recycled_space_removes_its_eigenvalues(rng, side):
    """The residuals are those of the problem that has only the other eigenvalues."""
    small, others = np.logspace(-6, -3, 6), np.linspace(1, 3, 94)
    b = np.concatenate([rng.standard_normal(6), rng.standard_normal(94)])
    mat = to_mat(sp.diags_array(np.concatenate([small, others])))
    context = GCRODR(60, 10)
    context.space = np.asfortranarray(np.eye(100)[:, :6] @ rng.standard_normal((6, 6)))
    ksp = make(mat, context, "none", side)
    rhs = to_vec(mat, b)
    ksp.solve(rhs, rhs.duplicate())

    deflated = to_mat(sp.diags_array(others))
    reference = gmres(deflated, "none", "right", 60)
    rhs = to_vec(deflated, b[6:])
    reference.setTolerances(rtol=1e-10 * np.linalg.norm(b) / np.linalg.norm(b[6:]))
    reference.solve(rhs, rhs.duplicate())
    norms, expected = ksp.getConvergenceHistory(), reference.getConvergenceHistory()
    assert context.counts.recycled == 6
    np.testing.assert_allclose(norms[1:], expected[1:], rtol=1e-6)
    assert norms[0] == pytest.approx(np.linalg.norm(b))


def test_solving_a_system_again_is_as_quick_as_deflating_its_eigenvectors(rng):
    """Not at once: k directions hold the slow part of the spectrum, not the solution."""
    matrix = laplacian(30)
    mat = to_mat(matrix)
    b = to_vec(mat, rng.standard_normal(900))
    x = b.duplicate()
    ksp = make(mat, GCRODR(40, 20))
    ksp.solve(b, x)
    first = ksp.getIterationNumber()
    for _ in range(3):
        ksp.solve(b, x)
    exact = GCRODR(40, 20)
    exact.space = np.asfortranarray(np.linalg.eigh(matrix.toarray())[1][:, :20])
    ideal = make(mat, exact)
    ideal.solve(b, x)
    assert ksp.getIterationNumber() < 0.6 * first
    assert ksp.getIterationNumber() <= 1.15 * ideal.getIterationNumber()


def test_a_space_that_holds_everything_solves_at_once(rng):
    mat = to_mat(sp.csr_array(rng.standard_normal((10, 10)) + 5 * np.eye(10)))
    b = to_vec(mat, rng.standard_normal(10))
    x = b.duplicate()
    ksp = make(mat, GCRODR(40, 20))
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == 10
    ksp.solve(to_vec(mat, rng.standard_normal(10)), x)
    assert ksp.getIterationNumber() == 1


def test_a_dependent_recycled_space_loses_only_the_dependent_part(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    context = GCRODR(30, 10)
    space = rng.standard_normal((400, 4))
    context.space = np.asfortranarray(np.hstack([space, space @ rng.standard_normal((4, 4))]))
    ksp = make(mat, context)
    ksp.solve(b, b.duplicate())
    assert context.counts.recycled == 4
    assert ksp.getConvergedReason() > 0


@pytest.mark.parametrize("side", SIDES)
def test_the_last_norm_is_the_computed_residual(rng, side):
    system = sequence(25, 1, wind=5.0)[0]
    mat = to_mat(system)
    values = rng.standard_normal(625)
    b = to_vec(mat, values)
    x = b.duplicate()
    ksp = make(mat, GCRODR(10, 4), "jacobi", side)
    ksp.solve(b, x)
    computed = np.linalg.norm(values - system @ x.getArray())
    assert ksp.getResidualNorm() == pytest.approx(computed, rel=1e-9)
    assert computed <= 1e-10 * np.linalg.norm(values)


# Behaviour as a KSP


def test_options_prefix_view_monitor_and_history(rng, tmp_path):
    mat = to_mat(laplacian(15))
    b = to_vec(mat, rng.standard_normal(225))
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setOptionsPrefix("mine_")
    options = PETSc.Options("mine_")
    chosen = {
        "ksp_type": "python",
        "ksp_python_type": "kryloset.krylov.GCRODR",
        "ksp_gcrodr_restart": 17,
        "ksp_gcrodr_recycle": 6,
        "ksp_rtol": 1e-6,
        "pc_type": "jacobi",
    }
    for key, value in chosen.items():
        options[key] = value
    ksp.setFromOptions()
    for key in chosen:
        del options[key]
    seen = []
    ksp.setMonitor(lambda _ksp, its, norm: seen.append((its, norm)))
    ksp.setConvergenceHistory(length=1000)
    ksp.solve(b, b.duplicate())
    context = ksp.getPythonContext()
    assert (context.restart, context.recycle) == (17, 6)
    assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.CONVERGED_RTOL
    assert [its for its, _ in seen] == list(range(ksp.getIterationNumber() + 1))
    np.testing.assert_array_equal(ksp.getConvergenceHistory(), [norm for _, norm in seen])
    viewer = PETSc.Viewer().createASCII(str(tmp_path / "view.txt"))
    ksp.view(viewer)
    viewer.destroy()
    text = (tmp_path / "view.txt").read_text()
    assert "GCRO-DR: restart=17, recycle=6, directions held=6" in text
    assert "left preconditioning" in text and "UNPRECONDITIONED norm" in text


@pytest.mark.parametrize("context", [GCRODR, RecyclingCG, RecyclingMINRES, RecyclingBiCGStab])
def test_nan_in_the_right_hand_side_is_the_reason(context, rng):
    mat = to_mat(laplacian(10))
    values = rng.standard_normal(100)
    values[7] = np.nan
    ksp = make(mat, context(20, 5), "jacobi")
    b = to_vec(mat, values)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_NANORINF


def test_initial_guesses(rng):
    system = laplacian(15)
    mat = to_mat(system)
    exact = rng.standard_normal(225)
    b = to_vec(mat, system @ exact)
    ksp = make(mat, GCRODR(20, 5), "ilu", rtol=1e-8)
    ksp.setInitialGuessNonzero(True)
    x = to_vec(mat, exact)
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == 0 and ksp.getConvergedReason() > 0
    np.testing.assert_array_equal(x.getArray(), exact)
    near = to_vec(mat, exact + 1e-5 * rng.standard_normal(225))
    ksp.solve(b, near)
    from_near = ksp.getIterationNumber()
    fresh = make(mat, GCRODR(20, 5), "ilu", rtol=1e-8)
    fresh.solve(b, near)
    assert 0 < from_near < fresh.getIterationNumber()
    np.testing.assert_allclose(near.getArray(), exact, atol=1e-5)


@pytest.mark.parametrize("context", [GCRODR(20, 5), GMRESDR(20, 5), GCRODR(20, 0)])
def test_recycling_methods_solve_a_repeated_system_at_once(rng, context):
    mat = to_mat(laplacian(15))
    b = to_vec(mat, rng.standard_normal(225))
    x = b.duplicate()
    ksp = make(mat, context, "ilu")
    ksp.solve(b, x)
    first, expected = ksp.getIterationNumber(), x.getArray().copy()
    ksp.solve(b, x)
    at_once = type(context) is GCRODR and context.recycle > 0
    assert ksp.getIterationNumber() == (0 if at_once else first)
    np.testing.assert_allclose(x.getArray(), expected, rtol=0, atol=1e-9)
    assert not ksp.getInitialGuessNonzero()
    b.scale(-3.0)
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == (0 if at_once else first)


def test_the_iteration_limit_is_kept(rng):
    mat = to_mat(laplacian(30))
    b = to_vec(mat, rng.standard_normal(900))
    ksp = make(mat, GCRODR(10, 4), max_it=23)
    ksp.solve(b, b.duplicate())
    assert ksp.getIterationNumber() == 23
    assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT


def test_a_convergence_test_of_the_user_decides(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    ksp = make(mat, GCRODR(20, 5))
    ksp.setConvergenceTest(lambda _ksp, its, _norm: its >= 33)
    ksp.solve(b, b.duplicate())
    assert ksp.getIterationNumber() == 33


@pytest.mark.parametrize(("restart", "recycle"), [(10, 10), (10, -1), (0, 0)])
def test_numbers_that_leave_no_room_are_refused(restart, recycle):
    with pytest.raises(ValueError, match="0 <= recycle < restart"):
        GCRODR(restart, recycle)


def test_memory_is_m_plus_k_plus_work_vectors():
    mat = to_mat(laplacian(10))
    context = GCRODR(40, 20)
    b = to_vec(mat, np.arange(100.0))
    ksp = make(mat, context)
    for _ in range(2):
        b.scale(2.0)
        ksp.solve(b, b.duplicate())
    arrays = [a for a in vars(context).values() if isinstance(a, np.ndarray)]
    owned = {id(a.base if a.base is not None else a): a for a in arrays if len(a) == 100}
    vectors = [v for v in vars(context).values() if isinstance(v, PETSc.Vec)]
    b_and_x = 2
    # [C V], U, the last solution, work.
    assert sum(a.size for a in owned.values()) // 100 == 41 + 20 + 1
    assert len(vectors) - b_and_x == 4
