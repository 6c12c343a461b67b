# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling CG as a PETSc KSP: the theorems of the method and the behaviour of a KSP."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov.methods.recycling_cg import DRIFT, GAIN, PATIENCE, STALE, Pace, RecyclingCG

Reason = PETSc.KSP.ConvergedReason

SINGLE_PRECISION = 1e-5
"""Many roundings of the projections, which read U and A U in single precision."""


def make(mat, context=None, pc="none", rtol=1e-10, max_it=10_000):
    """Return a KSP that runs the context, or PETSc's CG."""
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    if context is None:
        ksp.setType("cg")
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    else:
        ksp.setType("python")
        ksp.setPythonContext(context)
    ksp.getPC().setType(pc)
    ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_it)
    ksp.setConvergenceHistory(length=5000)
    return ksp


def dense(mat, apply):
    """Return the matrix of a linear map between vectors of `mat`."""
    source, target = mat.createVecs()
    columns = []
    for i in range(mat.size[0]):
        source.set(0.0)
        source[i] = 1.0
        source.assemble()
        apply(source, target)
        columns.append(target.getArray().copy())
    return np.array(columns).T


class _Watched(RecyclingCG):
    """Keeps F = [V P], the columns of V, U, the operators and the result of each selection."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen = []

    def _select(self, out):
        held, steps = len(self._harvest.gram), self._harvest.steps
        old = self._v_block if self._selected else self._u_block
        f = np.hstack([old[:, :held], self._p_block[:, :steps]])
        operator = dense(self._operator, self._operator.mult)
        inverse = dense(self._operator, self._pc.apply)
        u = self._u_block[:, : self._held].copy()
        count = super()._select(out)
        self.seen.append((f, held, u, operator, inverse, out[:, :count].copy()))
        return count


@pytest.mark.parametrize("pc", ["none", "jacobi", "icc", "sor"])
def test_equals_cg_when_nothing_is_recycled(rng, pc):
    mat = to_mat(sequence(20, 1)[0])
    b = to_vec(mat, rng.standard_normal(400))
    x, y = b.duplicate(), b.duplicate()
    for steps in (1, 2, 10):
        for ksp, solution in ((make(mat, RecyclingCG(5, 0), pc), x), (make(mat, None, pc), y)):
            ksp.setTolerances(max_it=steps)
            ksp.solve(b, solution)
            assert ksp.getConvergedReason() == Reason.DIVERGED_MAX_IT
        assert (x - y).norm() <= 1e-13 * y.norm()
    ours, theirs = make(mat, RecyclingCG(5, 0), pc), make(mat, None, pc)
    ours.solve(b, x)
    theirs.solve(b, y)
    norms, expected = ours.getConvergenceHistory(), theirs.getConvergenceHistory()
    assert ours.getIterationNumber() == theirs.getIterationNumber() > 15
    np.testing.assert_allclose(norms, expected, rtol=1e-6, atol=1e-14 * norms[0])
    assert ours.getPythonContext().space is None


def test_the_first_system_takes_the_iterates_of_cg_even_if_it_is_harvested(rng):
    mat = to_mat(sequence(20, 1)[0])
    b = to_vec(mat, rng.standard_normal(400))
    ours, theirs = make(mat, RecyclingCG(10, 4), "icc"), make(mat, None, "icc")
    for ksp in (ours, theirs):
        ksp.solve(b, b.duplicate())
    norms, expected = ours.getConvergenceHistory(), theirs.getConvergenceHistory()
    np.testing.assert_allclose(norms, expected, rtol=1e-6, atol=1e-14 * norms[0])


@pytest.mark.parametrize("pc", ["none", "icc"])
@pytest.mark.parametrize("rtol", [1e-3, 1e-10])
def test_directions_stay_conjugate_through_a_sequence(rng, pc, rtol):
    """U'A P = 0; V'A P = 0 and P'A P is diagonal until U is removed from the residual again."""
    systems = sequence(15, 12)
    mat = to_mat(systems[0])
    context = _Watched(20, 5)
    ksp = make(mat, context, pc, rtol)
    b = to_vec(mat, rng.standard_normal(225))
    for system in systems:
        refill(mat, system)
        context.pace = Pace()
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
    assert len(context.seen) >= 12 and context.seen[-1][1] == 5
    for f, held, u, a, *_ in context.seen:
        gram = f.T @ a @ f
        length = np.sqrt(gram.diagonal())
        gram /= np.outer(length, length)
        gram[:held, :held] = np.eye(held)
        if rtol > DRIFT:
            assert abs(gram - np.eye(len(gram))).max() < SINGLE_PRECISION
        along = (u / np.sqrt((u * (a @ u)).sum(axis=0))).T @ a @ (f / length)[:, held:]
        assert abs(along).max(initial=0.0) < 1e-7


@pytest.mark.parametrize("pc", ["none", "jacobi", "icc"])
def test_the_next_space_is_that_of_a_dense_harmonic_problem(rng, pc):
    """The small matrices made of scalars give the space and the scaling of dense ones."""
    systems = sequence(12, 3)
    mat = to_mat(systems[0])
    context = _Watched(8, 4)
    ksp = make(mat, context, pc, rtol=1e-3)
    b = to_vec(mat, rng.standard_normal(144))
    for system in systems:
        refill(mat, system)
        context.pace = Pace()
        ksp.solve(b, b.duplicate())
        np.testing.assert_array_equal(context.seen[-1][-1], context.space)
    assert max(held for _, held, *_ in context.seen) == 4
    assert len(context.seen) > 3  # P was full in between
    for f, _, _, a, inverse, selected in context.seen:
        af = a @ f
        _, y = scipy.linalg.eigh(af.T @ inverse @ af, f.T @ af, subset_by_index=[0, 3])
        # Orthonormal, and the cosines of the angles to the exact ones, in the A-inner product.
        np.testing.assert_allclose(selected.T @ a @ selected, np.eye(4), atol=1e-4)
        np.testing.assert_allclose(abs((f @ y).T @ a @ selected), np.eye(4), atol=1e-4)


def test_an_invariant_recycled_space_removes_its_eigenvalues(rng):
    """The residuals are those of the problem that has only the other eigenvalues."""
    small, others = np.logspace(-6, -3, 6), np.linspace(1, 3, 94)
    b = rng.standard_normal(100)
    mat = to_mat(sp.diags_array(np.concatenate([small, others])))
    context = RecyclingCG(30, 10)
    context.space = np.asfortranarray(np.eye(100)[:, :6] @ rng.standard_normal((6, 6)))
    ksp = make(mat, context)
    rhs = to_vec(mat, b)
    ksp.solve(rhs, rhs.duplicate())

    deflated = to_mat(sp.diags_array(others))
    reference = make(deflated, None, rtol=1e-10 * np.linalg.norm(b) / np.linalg.norm(b[6:]))
    rhs = to_vec(deflated, b[6:])
    reference.solve(rhs, rhs.duplicate())
    norms, expected = ksp.getConvergenceHistory(), reference.getConvergenceHistory()
    assert context.counts.recycled == 6
    assert norms[0] == pytest.approx(np.linalg.norm(b))
    np.testing.assert_allclose(norms[1:], expected[1:], rtol=1e-5)


def test_solving_a_system_again_is_as_quick_as_deflating_its_eigenvectors(rng):
    matrix = laplacian(30)
    mat = to_mat(matrix)
    b = to_vec(mat, rng.standard_normal(900))
    context = RecyclingCG(60, 12)
    ksp = make(mat, context)
    iterations = []
    for _ in range(10):
        context.pace, context.solution = Pace(), None
        ksp.solve(b, b.duplicate())
        iterations.append(ksp.getIterationNumber())
    exact = RecyclingCG(60, 12)
    exact.space = np.asfortranarray(np.linalg.eigh(matrix.toarray())[1][:, :12])
    ideal = make(mat, exact)
    ideal.solve(b, b.duplicate())
    assert iterations[-1] < 0.65 * iterations[0]
    assert iterations[-1] <= 1.05 * ideal.getIterationNumber()


@pytest.mark.parametrize("pc", ["jacobi", "icc"])
def test_iterations_fall_over_a_sequence_against_cg(rng, pc, residual):
    systems = sequence(30, 10)
    mat = to_mat(systems[0])
    ours, theirs = make(mat, RecyclingCG(60, 10), pc), make(mat, None, pc)
    values = rng.standard_normal(900)
    b = to_vec(mat, values)
    x = b.duplicate()
    counts = []
    for system in systems:
        refill(mat, system)
        for ksp in (theirs, ours):
            ksp.solve(b, x)
        assert residual(system, x, values) <= 1e-10
        counts.append((ours.getIterationNumber(), theirs.getIterationNumber()))
    (first, expected), (last, plain) = counts[0], counts[-1]
    assert first == expected
    assert last < 0.65 * plain


def test_a_space_that_holds_everything_solves_at_once(rng):
    mat = to_mat(laplacian(3))
    context = RecyclingCG(40, 20)
    context.space = np.asfortranarray(rng.standard_normal((9, 9)))
    ksp = make(mat, context)
    for _ in range(2):
        b = to_vec(mat, rng.standard_normal(9))
        ksp.solve(b, b.duplicate())
        assert ksp.getIterationNumber() == 1
        assert ksp.getConvergedReason() == Reason.CONVERGED_RTOL


def test_a_dependent_recycled_space_loses_only_the_dependent_part(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    space = rng.standard_normal((400, 4))
    full = np.hstack([space, space @ rng.standard_normal((4, 4)), np.zeros((400, 1))])
    full[0, 6] = np.nan
    histories = []
    for start in (full, space):
        context = RecyclingCG(30, 10)
        context.space = np.asfortranarray(start)
        ksp = make(mat, context)
        ksp.solve(b, b.duplicate())
        assert context.counts.recycled == 4
        assert ksp.getConvergedReason() > 0
        histories.append(ksp.getConvergenceHistory())
    np.testing.assert_allclose(histories[0][:20], histories[1][:20], rtol=SINGLE_PRECISION)


def test_an_ill_conditioned_space_deflates_as_well_as_another_basis_of_it(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    basis = np.linalg.eigh(laplacian(20).toarray())[1][:, :6]
    skewed = basis @ (np.ones((6, 6)) + 1e-5 * rng.standard_normal((6, 6)))
    counts = []
    for start in (basis, skewed):
        context = RecyclingCG(30, 6)
        context.space = np.asfortranarray(start)
        ksp = make(mat, context)
        ksp.solve(b, b.duplicate())
        counts.append((context.counts.recycled, ksp.getIterationNumber()))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("a", "b"), [(1e12, 1.0), (1e-12, 1e-30), (1.0, 1e-35), (1e20, 1e40)])
def test_units_do_not_matter(rng, a, b):
    """Otherwise projections in single precision would leave its range."""
    systems = sequence(20, 3)
    values = rng.standard_normal((3, 400))
    iterations = []
    for factor, scale in ((1.0, 1.0), (a, b)):
        mat = to_mat(systems[0])
        context = RecyclingCG(20, 5)
        context.space = np.asfortranarray(np.eye(400)[:, :5] / scale)
        ksp = make(mat, context)
        for system, rhs in zip(systems, values, strict=True):
            refill(mat, factor * system)
            ksp.solve(to_vec(mat, scale * rhs), mat.createVecLeft())
            assert ksp.getConvergedReason() > 0
            iterations.append(ksp.getIterationNumber())
    # Rounding alone moves the end of the first solve by some iterations.
    np.testing.assert_allclose(iterations[3:], iterations[:3], rtol=0.15)


def test_the_last_norm_is_the_computed_residual(rng):
    system = sequence(25, 1)[0]
    mat = to_mat(system)
    values = rng.standard_normal(625)
    b = to_vec(mat, values)
    x = b.duplicate()
    ksp = make(mat, RecyclingCG(10, 4), "jacobi")
    for _ in range(3):
        ksp.solve(b, x)
        computed = np.linalg.norm(values - system @ x.getArray())
        assert ksp.getResidualNorm() == pytest.approx(computed, rel=1e-6)
        assert computed <= 1e-10 * np.linalg.norm(values)


class _Faulty:
    """A matrix that counts its products, and may make one of them wrong in the fifth digit."""

    def __init__(self, matrix, fault=-1):
        self.matrix, self.fault, self.products = matrix, fault, 0

    def mult(self, _mat, x, y):
        self.products += 1
        y.setArray(self.matrix @ x.getArray(readonly=True))
        if self.products == self.fault:
            y.scale(1 + 1e-5)


def shell(matrix, fault=-1):
    """Return a Mat that has products but no entries."""
    mat = PETSc.Mat().createPython(matrix.shape, _Faulty(matrix, fault), comm=PETSc.COMM_SELF)
    mat.setUp()
    return mat


def test_a_residual_that_drifted_is_replaced_by_the_computed_one(rng, residual):
    matrix = laplacian(20)
    values = rng.standard_normal(400)
    mat = shell(matrix, fault=10)
    ksp = make(mat, RecyclingCG(20, 4))
    b = to_vec(mat, values)
    x = b.duplicate()
    ksp.solve(b, x)
    norms = ksp.getConvergenceHistory()
    assert ksp.getConvergedReason() == Reason.CONVERGED_RTOL
    assert residual(matrix, x, values) <= 1e-10
    assert max(norms[1:] / norms[:-1]) > 1e3  # where the recurrence was found to be wrong
    ksp.solve(b, x)
    assert residual(matrix, x, values) <= 1e-10


def test_a_tolerance_below_rounding_ends_in_stagnation(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    ksp = make(mat, RecyclingCG(10, 4), rtol=1e-17)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == Reason.DIVERGED_BREAKDOWN
    assert ksp.getResidualNorm() <= 1e-13 * b.norm()


@pytest.mark.parametrize("recycle", [0, 4])
def test_what_is_not_positive_definite_is_refused_with_its_reason(rng, recycle):
    spectrum = np.concatenate([np.linspace(1, 2, 99), [-1.0]])
    good, bad = to_mat(laplacian(10)), to_mat(sp.diags_array(spectrum))
    b = to_vec(good, rng.standard_normal(100))
    ksp = make(bad, RecyclingCG(20, recycle))
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == Reason.DIVERGED_INDEFINITE_MAT
    ksp = make(good, RecyclingCG(20, recycle), "mat")
    ksp.setOperators(good, bad)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == Reason.DIVERGED_INDEFINITE_PC


def test_a_nan_is_named(rng):
    matrix = laplacian(10)
    mat = to_mat(matrix)
    ksp = make(mat, RecyclingCG(20, 4))
    b = to_vec(mat, rng.standard_normal(100))
    ksp.solve(b, b.duplicate())
    matrix.data[7] = np.nan
    refill(mat, matrix)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == Reason.DIVERGED_NANORINF


@pytest.mark.parametrize("pc", ["none", "jacobi"])
def test_a_singular_consistent_sequence_is_solved(rng, residual, pc):
    """The Neumann Laplacian with varying coefficients, b in its range."""
    mat, context = None, RecyclingCG(30, 6)
    iterations = []
    for _ in range(6):
        one = sp.diags_array([-np.ones(19), np.ones(19)], offsets=[0, 1], shape=(19, 20))
        gradient = sp.vstack([sp.kron(one, sp.eye_array(20)), sp.kron(sp.eye_array(20), one)])
        weights = sp.diags_array(np.exp(0.3 * rng.standard_normal(gradient.shape[0])))
        system = sp.csr_array(gradient.T @ weights @ gradient)
        if mat is None:
            mat = to_mat(system)
            values = rng.standard_normal(400)
            values -= values.mean()
            ksp = make(mat, context, pc, rtol=1e-9)
        refill(mat, system)
        b = to_vec(mat, values)
        x = b.duplicate()
        ksp.solve(b, x)
        assert ksp.getConvergedReason() > 0
        assert residual(system, x, values) <= 1.001e-9
        iterations.append(ksp.getIterationNumber())
    assert iterations[-1] < iterations[0]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_systems_smaller_than_m(rng, size, residual):
    matrix = sp.csr_array(np.diag(np.arange(1.0, size + 1)) + 0.1)
    mat = to_mat(matrix)
    context = RecyclingCG(40, 20)
    ksp = make(mat, context)
    for _ in range(4):
        values = rng.standard_normal(size)
        b = to_vec(mat, values)
        x = b.duplicate()
        ksp.solve(b, x)
        assert ksp.getConvergedReason() > 0 and ksp.getIterationNumber() <= size
        assert residual(matrix, x, values) <= 1e-10


# Updates


def test_updates_follow_each_other_while_they_save_and_get_rare_afterwards():
    pace, updates = Pace(), []
    for i, its in enumerate([110, 80, 60, 50] + [49] * 100):
        update, pace = pace.after(its)
        if update:
            updates.append(i)
    assert updates == [0, 1, 2, 3, 8, 25, 90]


def test_a_space_that_has_gone_stale_is_updated_again():
    pace = Pace()
    for its in [100] * 3:
        _, pace = pace.after(its)
    assert not pace.due and pace.wait == PATIENCE
    worse = int(STALE * 100) + 1
    update, pace = pace.after(worse)
    assert not update and pace.due
    update, pace = pace.after(worse)
    assert update and pace.due
    update, pace = pace.after(int((1 - GAIN) * worse))
    assert update


def test_a_sequence_continued_from_space_and_numbers_gives_the_same_bits(rng):
    systems = sequence(20, 9)
    mat = to_mat(systems[0])
    b = to_vec(mat, rng.standard_normal(400))
    context = RecyclingCG(30, 6)
    found, saved = [], None
    for resume in (False, True):
        ksp = make(mat, context, "icc")
        for i, system in enumerate(systems):
            refill(mat, system)
            if i == 4 and resume:
                context = RecyclingCG(30, 6)
                context.space, context.numbers, context.solution = saved
                ksp = make(mat, context, "icc")
            x = b.duplicate()
            ksp.solve(b, x)
            if i == 3:
                saved = context.space.copy(order="F"), context.numbers, context.solution.copy()
        found.append(x.getArray().copy())
        context = RecyclingCG(30, 6)
    np.testing.assert_array_equal(*found)


def test_a_reset_forgets_the_space(rng):
    mat = to_mat(laplacian(15))
    b = to_vec(mat, rng.standard_normal(225))
    context = RecyclingCG(30, 6)
    ksp = make(mat, context)
    ksp.solve(b, b.duplicate())
    first = ksp.getConvergenceHistory()
    ksp.solve(b, b.duplicate())
    ksp.reset()
    assert context.space is None and context.pace == Pace()
    ksp.setOperators(mat)
    ksp.setConvergenceHistory(length=5000, reset=True)
    ksp.solve(b, b.duplicate())
    np.testing.assert_array_equal(ksp.getConvergenceHistory(), first)


# Behaviour as a KSP


def test_every_application_is_counted(rng):
    """The counts equal those of a shell matrix and a shell preconditioner."""

    class Jacobi:
        applications = 0

        def apply(self, _pc, x, y):
            Jacobi.applications += 1
            y.pointwiseDivide(x, diagonal)

    matrix = laplacian(25)
    mat = shell(matrix)
    operator = mat.getPythonContext()
    diagonal = to_vec(mat, np.linspace(1.0, 2.0, 625))
    context = RecyclingCG(30, 6)
    ksp = make(mat, context)
    ksp.getPC().setType("python")
    ksp.getPC().setPythonContext(Jacobi())
    x = to_vec(mat, np.zeros(625))
    for recycled, guess in ((0, False), (6, False), (6, True)):
        b = to_vec(mat, rng.standard_normal(625))
        ksp.setInitialGuessNonzero(guess)
        operator.products = Jacobi.applications = 0
        ksp.solve(b, x)
        its = ksp.getIterationNumber()
        # The residual of the guess or of the last solution, and three times that without U.
        tried = 4 * (recycled > 0)
        assert context.counts.recycled == recycled and its > 20
        assert context.counts.operator == operator.products == its + recycled + 1 + tried
        assert context.counts.preconditioner == Jacobi.applications
        # The step that passes needs no z; an update takes k applications.
        assert context.counts.preconditioner in (its, its + recycled)
        assert context.counts.rebuild > 0.0


def test_options_prefix_view_monitor_and_history(rng, tmp_path):
    mat = to_mat(laplacian(15))
    b = to_vec(mat, rng.standard_normal(225))
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setOptionsPrefix("mine_")
    options = PETSc.Options("mine_")
    chosen = {
        "ksp_type": "python",
        "ksp_python_type": "kryloset.krylov.RecyclingCG",
        "ksp_rcg_restart": 17,
        "ksp_rcg_recycle": 6,
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
    assert ksp.getConvergedReason() == Reason.CONVERGED_RTOL
    assert [its for its, _ in seen] == list(range(ksp.getIterationNumber() + 1))
    np.testing.assert_array_equal(ksp.getConvergenceHistory(), [norm for _, norm in seen])
    viewer = PETSc.Viewer().createASCII(str(tmp_path / "view.txt"))
    ksp.view(viewer)
    viewer.destroy()
    text = (tmp_path / "view.txt").read_text()
    assert "recycling CG: restart=17, recycle=6, directions held=6" in text
    assert "left preconditioning" in text and "UNPRECONDITIONED norm" in text


def test_preconditioning_from_the_right_is_refused():
    ksp = make(to_mat(laplacian(5)), RecyclingCG(10, 4))
    ksp.setPCSide(PETSc.PC.Side.RIGHT)
    with pytest.raises(PETSc.Error) as failure:
        ksp.setUp()
    assert "preconditions from the left" in str(failure.value.__cause__)


def test_initial_guesses(rng):
    system = laplacian(15)
    mat = to_mat(system)
    exact = rng.standard_normal(225)
    b = to_vec(mat, system @ exact)
    context = RecyclingCG(20, 5)
    ksp = make(mat, context, "icc", rtol=1e-8)
    ksp.solve(b, b.duplicate())
    ksp.setInitialGuessNonzero(True)
    x = to_vec(mat, exact)
    space = context.space.copy()
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == 0 and ksp.getConvergedReason() > 0
    np.testing.assert_array_equal(x.getArray(), exact)
    np.testing.assert_array_equal(context.space, space)
    context.solution = None
    near = to_vec(mat, exact + 1e-5 * rng.standard_normal(225))
    ksp.solve(b, near)
    from_near = ksp.getIterationNumber()
    context.solution = None
    ksp.setInitialGuessNonzero(False)
    ksp.solve(b, near)
    assert 0 < from_near < ksp.getIterationNumber()
    np.testing.assert_allclose(near.getArray(), exact, atol=1e-5)


def test_a_right_hand_side_of_zero_has_the_solution_zero():
    mat = to_mat(laplacian(10))
    b = mat.createVecLeft()
    x = b.duplicate()
    x.set(1.0)
    ksp = make(mat, RecyclingCG(20, 5))
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == 0 and ksp.getConvergedReason() > 0
    assert x.norm() == 0.0


@pytest.mark.parametrize("limit", [0, 23])
def test_the_iteration_limit_is_kept(rng, limit):
    mat = to_mat(laplacian(30))
    b = to_vec(mat, rng.standard_normal(900))
    ksp = make(mat, RecyclingCG(10, 4), max_it=limit)
    ksp.solve(b, b.duplicate())
    assert ksp.getIterationNumber() == limit
    assert ksp.getConvergedReason() == Reason.DIVERGED_MAX_IT


def test_a_convergence_test_of_the_user_decides(rng):
    mat = to_mat(laplacian(20))
    b = to_vec(mat, rng.standard_normal(400))
    ksp = make(mat, RecyclingCG(20, 5))
    ksp.setConvergenceTest(lambda _ksp, its, _norm: its >= 33)
    for _ in range(2):
        ksp.solve(b, b.duplicate())
        assert ksp.getIterationNumber() == 33


@pytest.mark.parametrize(("restart", "recycle"), [(10, 10), (10, -1), (0, 0)])
def test_numbers_that_leave_no_room_are_refused(restart, recycle):
    with pytest.raises(ValueError, match="0 <= recycle < restart"):
        RecyclingCG(restart, recycle)


def test_memory_is_m_plus_two_k_plus_work_vectors():
    mat = to_mat(laplacian(10))
    context = RecyclingCG(40, 20)
    make(mat, context).setUp()
    arrays = [a for a in vars(context).values() if isinstance(a, np.ndarray)]
    held = sum(a.nbytes for a in arrays if a.shape[0] == 100) // (100 * PETSc.ScalarType().nbytes)
    assert held == 40 + 2 * 20 + 4
