# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling MINRES as a PETSc KSP: the theorems of the method and the behaviour of a KSP."""

from collections import Counter

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from systems import gaussian_field, laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov.methods import recycling_minres
from kryloset.krylov.methods.recycling_minres import RecyclingMINRES

DIVERGED = PETSc.KSP.ConvergedReason


def helmholtz(size, count, shift=0.05, seed=0):
    """Return -Laplace - kappa^2 with random fields kappa^2 about `shift`: indefinite."""
    rng = np.random.default_rng(seed)
    squares = (shift * np.exp(gaussian_field(size, rng).ravel()) for _ in range(count))
    return [sp.csr_array(laplacian(size) - sp.diags_array(square)) for square in squares]


def make(mat, context=None, pc="none", rtol=1e-9, max_it=5000, definite=None):
    """Return a KSP that runs the context, or else PETSc's MINRES.

    The preconditioner is made of `definite`, if given.
    """
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat, definite)
    if context is None:
        ksp.setType("minres")
    else:
        ksp.setType("python")
        ksp.setPythonContext(context)
    ksp.getPC().setType(pc)
    ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_it)
    ksp.setConvergenceHistory(length=5000)
    return ksp


def applied(pc, columns):
    """Return M^-1 times the columns."""
    source, target = pc.getOperators()[0].createVecs()
    result = []
    for column in columns.T:
        source.setArray(column)
        pc.apply(source, target)
        result.append(target.getArray().copy())
    return np.array(result).T


def inner_product(pc, n):
    """Return M as a dense matrix."""
    return np.linalg.inv(applied(pc, np.eye(n)))


@pytest.mark.parametrize("pc", ["none", "jacobi", "icc"])
@pytest.mark.parametrize("steps", [1, 2, 7, 18])
def test_iterates_are_those_of_minres_when_nothing_is_recycled(rng, pc, steps):
    """Until Lanczos has lost its orthogonality, which is a matter of rounding."""
    (system,) = helmholtz(15, 1, shift=0.3)
    mat, definite = to_mat(system), to_mat(laplacian(15))
    b = to_vec(mat, rng.standard_normal(225))
    x, y = b.duplicate(), b.duplicate()
    for context in (RecyclingMINRES(10, 0), RecyclingMINRES(10, 5)):
        make(mat, context, pc, max_it=steps, definite=definite).solve(b, x)
        make(mat, None, pc, max_it=steps, definite=definite).solve(b, y)
        assert (x - y).norm() <= 1e-9 * y.norm()


def test_norms_are_those_of_minres_when_nothing_is_recycled(rng):
    mat = to_mat(helmholtz(15, 1, shift=0.3)[0])
    b = to_vec(mat, rng.standard_normal(225))
    ours, theirs = make(mat, RecyclingMINRES(10, 0), rtol=1e-6), make(mat, rtol=1e-6)
    for ksp in (ours, theirs):
        ksp.solve(b, b.duplicate())
    assert ours.getIterationNumber() == theirs.getIterationNumber() > 50
    norms, expected = ours.getConvergenceHistory(), theirs.getConvergenceHistory()
    np.testing.assert_allclose(norms[:60], expected[:60], rtol=1e-10)
    np.testing.assert_allclose(norms, expected, rtol=1e-2)


def test_an_invariant_recycled_space_removes_its_eigenvalues(rng):
    """The residuals are those of the problem that has only the other eigenvalues."""
    small = np.array([-1e-3, -1e-5, -1e-6, 1e-6, 1e-4, 1e-3])
    others = np.concatenate([np.linspace(-2, -1, 40), np.linspace(1, 3, 54)])
    b = rng.standard_normal(100)
    mat = to_mat(sp.diags_array(np.concatenate([small, others])))
    context = RecyclingMINRES(30, 10)
    context.space = np.asfortranarray(np.eye(100)[:, :6] @ rng.standard_normal((6, 6)))
    ksp = make(mat, context)
    rhs = to_vec(mat, b)
    ksp.solve(rhs, rhs.duplicate())

    deflated = to_mat(sp.diags_array(others))
    reference = make(deflated, rtol=1e-9 * np.linalg.norm(b) / np.linalg.norm(b[6:]))
    rhs = to_vec(deflated, b[6:])
    reference.solve(rhs, rhs.duplicate())
    norms, expected = ksp.getConvergenceHistory(), reference.getConvergenceHistory()
    assert context.counts.recycled == 6
    np.testing.assert_allclose(norms[1:], expected[1:], rtol=1e-5)
    assert norms[0] == pytest.approx(np.linalg.norm(b))


def test_eigenvectors_of_the_preconditioned_operator_removed_leave_its_other_eigenvalues(rng):
    """With A p = lambda M p removed, MINRES is as on the others' problem, in the norm of M."""
    (system,) = helmholtz(12, 1, shift=0.3)
    mat, definite = to_mat(system), to_mat(laplacian(12))
    context = RecyclingMINRES(30, 10)
    ksp = make(mat, context, "icc", definite=definite, rtol=1e-8)
    ksp.setUp()
    m = inner_product(ksp.getPC(), 144)
    values, vectors = scipy.linalg.eigh(system.toarray(), (m + m.T) / 2)
    order = np.argsort(abs(values))
    context.space = np.asfortranarray(vectors[:, order[:10]])
    b = rng.standard_normal(144)
    ksp.solve(to_vec(mat, b), to_vec(mat, b))

    # In the basis of the eigenvectors A is diagonal and M the identity.
    others = to_mat(sp.diags_array(values[order[10:]]))
    reference = make(others, rtol=1e-7)
    rhs = to_vec(others, vectors[:, order[10:]].T @ b)
    reference.solve(rhs, rhs.duplicate())
    # Ours are in proportion, until the first look.
    norms, expected = ksp.getConvergenceHistory(), reference.getConvergenceHistory()
    size = min(len(norms), len(expected)) - 2
    assert size > 6
    np.testing.assert_allclose(norms[2:size] / norms[1], expected[2:size] / expected[1], rtol=1e-4)


@pytest.mark.parametrize("pc", ["none", "jacobi", "icc"])
def test_lanczos_relation_and_orthogonality_through_a_sequence(monkeypatch, rng, pc):
    """K Z = C B + Z T, <C, C> = I and <C, Z> = 0 in every window; neighbours orthonormal."""
    systems = helmholtz(12, 25, shift=0.2)
    mat, definite = to_mat(systems[0]), to_mat(laplacian(12))
    context = RecyclingMINRES(14, 6)
    ksp = make(mat, context, pc, definite=definite)
    ksp.setUp()
    m = inner_product(ksp.getPC(), 144)
    worst = Counter()
    windows = 0
    select = RecyclingMINRES._select

    def note(name, value):
        worst[name] = max(worst[name], value)

    def watch(self):
        nonlocal windows
        held, count = self._held, self._column
        u, c = self._u[:, :held], self._c[:, :held]
        z = self._lanczos[:, : count + 1]
        if count > 2:
            windows += 1
            k_z = applied(ksp.getPC(), system @ z[:, :count])
            t = np.zeros((count + 1, count))
            index = np.arange(count)
            t[index, index] = self._alpha[:count]
            t[index + 1, index] = self._beta[1 : count + 1]
            t[index[:-1], index[1:]] = self._beta[1:count]
            # The first column also has the vector before the window.
            relation = k_z - c @ self._b[:held, :count] - z @ t
            note("relation", abs(relation[:, 1:]).max())
            ortho = z.T @ m @ z - np.eye(count + 1)
            note("neighbours", max(abs(np.diag(ortho)[:-1]).max(), abs(np.diag(ortho, 1)).max()))
        if held and count:
            note("c", abs(c.T @ m @ c - np.eye(held)).max())
            note("c and z", abs(c.T @ m @ z[:, :count]).max())
            note("c and u", abs(applied(ksp.getPC(), system @ u) - c).max())
        select(self)

    monkeypatch.setattr(RecyclingMINRES, "_select", watch)
    b = to_vec(mat, rng.standard_normal(144))
    for system in systems:
        refill(mat, system)
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
        assert np.isfinite(context.space).all()
    assert windows > 40 and context.counts.recycled == 6
    assert worst["c"] < 1e-12
    assert worst["c and z"] < 1e-12
    assert worst["relation"] < 1e-12
    assert worst["neighbours"] < 1e-11
    assert worst["c and u"] < 1e-11


@pytest.mark.parametrize("pc", ["none", "icc"])
def test_each_window_chooses_harmonic_ritz_vectors(monkeypatch, rng, pc):
    """Of [U' Z]: W^H A W p = mu (A W)^H M^-1 (A W) p, the largest |mu|, computed densely."""
    systems = helmholtz(12, 2, shift=0.3)
    mat, definite = to_mat(systems[0]), to_mat(laplacian(12))
    context = RecyclingMINRES(11, 5)
    ksp = make(mat, context, pc, definite=definite, max_it=20)
    angles = []
    select = RecyclingMINRES._select

    def watch(self):
        w = np.hstack([self._chosen, self._lanczos[:, : self._column]])
        count = self._column
        select(self)
        if count:
            image = system @ w
            gram = image.T @ applied(ksp.getPC(), image)
            _, p = scipy.linalg.eigh(w.T @ image, gram)
            mu = abs(scipy.linalg.eigvalsh(w.T @ image, gram))
            wanted = w @ p[:, np.argsort(-mu)[:5]]
            angles.append(scipy.linalg.subspace_angles(wanted, self._chosen).max())

    monkeypatch.setattr(RecyclingMINRES, "_select", watch)
    b = to_vec(mat, rng.standard_normal(144))
    for system in systems:
        refill(mat, system)
        ksp.solve(b, b.duplicate())
    assert len(angles) == 8 and max(angles) < 1e-6


@pytest.mark.parametrize("pc", ["none", "jacobi", "icc"])
def test_fewer_iterations_than_minres_on_a_sequence(rng, pc):
    systems = helmholtz(30, 10)
    mat, definite = to_mat(systems[0]), to_mat(laplacian(30))
    b = to_vec(mat, rng.standard_normal(900))
    x = b.duplicate()
    ours = make(mat, RecyclingMINRES(40, 15), pc, definite=definite)
    theirs = make(mat, RecyclingMINRES(40, 0), pc, definite=definite)
    counts = []
    for system in systems:
        refill(mat, system)
        row = []
        for ksp in (ours, theirs):
            ksp.solve(b, x)
            assert ksp.getConvergedReason() > 0
            row.append(ksp.getIterationNumber())
        counts.append(row)
    mine, plain = np.array(counts)[3:].mean(axis=0)
    assert mine < 0.7 * plain


def test_with_the_absolute_values_of_a_diagonal_of_both_signs(rng):
    """A saddle point: [H I/10; I/10 -L], H indefinite, preconditioned with |diagonal|."""
    blocks = helmholtz(20, 6)
    systems = [
        sp.block_array([[h, 0.1 * sp.eye_array(400)], [0.1 * sp.eye_array(400), -laplacian(20)]])
        for h in blocks
    ]
    mat = to_mat(systems[0].tocsr())
    ours, theirs = make(mat, RecyclingMINRES(50, 15), "jacobi"), make(mat, None, "jacobi")
    options = PETSc.Options()
    options["pc_jacobi_abs"] = True
    for ksp in (ours, theirs):
        ksp.getPC().setFromOptions()
    del options["pc_jacobi_abs"]
    for system in systems:
        refill(mat, system.tocsr())
        b = rng.standard_normal(800)
        x = to_vec(mat, b)
        for ksp in (theirs, ours):
            ksp.solve(to_vec(mat, b), x)
            assert ksp.getConvergedReason() > 0
        assert np.linalg.norm(b - system @ x.getArray()) <= 1e-9 * np.linalg.norm(b)
    assert ours.getIterationNumber() < 0.85 * theirs.getIterationNumber()


def test_a_poor_recycled_space_does_little_harm(monkeypatch, rng):
    """Random directions, T's diagonal jumping from step to step: the hardest for the duals."""
    sizes = []
    step = RecyclingMINRES._step

    def watch(self):
        result = step(self)
        sizes.extend(np.linalg.norm(part) for part in self._in_dual[:2])
        return result

    monkeypatch.setattr(RecyclingMINRES, "_step", watch)
    values = np.concatenate([np.linspace(-1e-2, -1e-3, 10), np.linspace(1, 1.2, 190)])
    scale = np.logspace(-1, 1, 200)[rng.permutation(200)]
    vectors = scale[:, None] * np.linalg.qr(rng.standard_normal((200, 200)))[0]
    matrix = vectors * values @ vectors.T
    mat, definite = to_mat(sp.csr_array((matrix + matrix.T) / 2)), to_mat(sp.diags_array(scale**2))
    b = to_vec(mat, rng.standard_normal(200))
    context = RecyclingMINRES(30, 10)
    context.space = np.asfortranarray(rng.standard_normal((200, 10)))
    ours = make(mat, context, "jacobi", definite=definite)
    theirs = make(mat, RecyclingMINRES(30, 0), "jacobi", definite=definite)
    for ksp in (ours, theirs):
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
    assert ours.getIterationNumber() <= theirs.getIterationNumber() + 2
    assert 1 < max(sizes) <= 10


def test_eigenvalues_on_both_sides_of_zero_are_recycled(rng):
    small = [1e-2, -1e-2, 3e-2, -3e-2, 1e-1, -1e-1]
    values = np.concatenate([np.linspace(1, 10, 150), -np.linspace(1, 5, 44), small])
    mat = to_mat(sp.diags_array(values))
    b = to_vec(mat, rng.standard_normal(200))
    ksp = make(mat, RecyclingMINRES(60, 8))
    exact = RecyclingMINRES(60, 8)
    exact.space = np.asfortranarray(np.eye(200)[:, -6:])
    ideal = make(mat, exact)
    ideal.solve(b, b.duplicate())
    counts = []
    for _ in range(4):
        b = to_vec(mat, rng.standard_normal(200))
        ksp.solve(b, b.duplicate())
        counts.append(ksp.getIterationNumber())
    assert counts[-1] <= 1.05 * ideal.getIterationNumber() < 0.75 * counts[0]


def test_the_last_norm_is_the_computed_residual(rng):
    """PETSc's MINRES tests the norm of M^-1, which may pass while ||b - A x|| does not."""
    scale = np.logspace(0, 3, 225)[rng.permutation(225)]
    system = sp.csr_array(sp.diags_array(scale) @ helmholtz(15, 1)[0] @ sp.diags_array(scale))
    mat, definite = to_mat(system), to_mat(sp.diags_array(scale**2))
    residuals = []
    for context in (RecyclingMINRES(20, 6), None):
        ksp = make(mat, context, "jacobi", rtol=1e-6, definite=definite)
        for _ in range(3):
            b = rng.standard_normal(225)
            x = to_vec(mat, b)
            ksp.solve(to_vec(mat, b), x)
            computed = np.linalg.norm(b - system @ x.getArray())
            residuals.append(computed / np.linalg.norm(b))
            assert ksp.getConvergedReason() > 0
            if context is not None:
                assert ksp.getResidualNorm() == pytest.approx(computed, rel=1e-7)
    assert max(residuals[:3]) <= 1e-6 < min(residuals[3:])


class Counting:
    """A matrix, or M^-1 as the inverse of a diagonal, that counts its applications."""

    def __init__(self, matrix, diagonal):
        """Count from zero."""
        self.matrix, self.diagonal, self.products, self.solves = matrix, diagonal, 0, 0

    def mult(self, _mat, x, y):
        """Multiply by the matrix."""
        self.products += 1
        y.setArray(self.matrix @ x.getArray(readonly=True))

    def apply(self, _pc, x, y):
        """Divide by the diagonal."""
        self.solves += 1
        y.setArray(x.getArray(readonly=True) / self.diagonal)


@pytest.mark.parametrize(("recycle", "poor"), [(0, False), (6, False), (6, True)])
def test_every_application_is_counted(monkeypatch, rng, recycle, poor):
    (system,) = helmholtz(20, 1)
    shell = Counting(system, np.linspace(1, 3, 400))
    mat = PETSc.Mat().createPython((400, 400), shell, comm=PETSc.COMM_SELF)
    mat.setUp()
    context = RecyclingMINRES(20, recycle)
    if poor:
        # Clearing the duals is counted, too.
        context.space = np.asfortranarray(rng.standard_normal((400, recycle)))
        monkeypatch.setattr(recycling_minres, "CARRIED", 0.1)
    ksp = make(mat, context, "python")
    ksp.getPC().setPythonContext(shell)
    x = to_vec(mat, np.zeros(400))
    for number, guess in enumerate((False, False, True)):
        b = to_vec(mat, rng.standard_normal(400))
        shell.products = shell.solves = 0
        ksp.setInitialGuessNonzero(guess)
        ksp.solve(b, x)
        assert ksp.getConvergedReason() > 0
        assert (context.counts.operator, context.counts.preconditioner) == (
            shell.products,
            shell.solves,
        )
        recycled = recycle if number or poor else 0
        assert context.counts.recycled == recycled
        assert (context.counts.rebuild > 0) == (recycled > 0)
        if not guess and not recycled:
            # One to begin with M^-1 b, one look that passes, a few that do not.
            assert ksp.getIterationNumber() < shell.products <= ksp.getIterationNumber() + 4


# Breakdowns and other ends


@pytest.mark.parametrize("pc", ["none", "jacobi"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_small_system_is_solved_in_as_many_steps_as_it_has_eigenvalues(rng, n, pc):
    matrix = rng.standard_normal((n, n))
    matrix += matrix.T
    mat, definite = to_mat(sp.csr_array(matrix)), to_mat(sp.diags_array(np.arange(1.0, n + 1)))
    ksp = make(mat, RecyclingMINRES(40, 20), pc, definite=definite)
    for steps in (n, 1, 1):
        b = rng.standard_normal(n)
        x = to_vec(mat, b)
        ksp.solve(to_vec(mat, b), x)
        assert ksp.getConvergedReason() > 0
        assert ksp.getIterationNumber() <= steps
        np.testing.assert_allclose(matrix @ x.getArray(), b, atol=1e-8)


def test_an_invariant_krylov_space_ends_the_solve(rng):
    values = np.repeat([-2.0, 1.0, 3.0], 30)
    mat = to_mat(sp.diags_array(values))
    ksp = make(mat, RecyclingMINRES(20, 5), rtol=1e-12)
    for _ in range(3):
        b = rng.standard_normal(90)
        x = to_vec(mat, b)
        ksp.solve(to_vec(mat, b), x)
        assert ksp.getConvergedReason() > 0 and ksp.getIterationNumber() <= 3
        np.testing.assert_allclose(x.getArray(), b / values, rtol=1e-11)


def periodic(n):
    """Periodic 1-D Laplacian: singular, constants in the null space."""
    matrix = sp.lil_array(sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)))
    matrix[0, n - 1] = matrix[n - 1, 0] = -1.0
    return sp.csr_array(matrix)


@pytest.mark.parametrize("shift", [0.0, float(2 - 2 * np.cos(2 * np.pi * 7 / 100))])
def test_a_singular_system_is_solved_if_it_is_consistent(rng, shift):
    system = sp.csr_array(periodic(100) - shift * sp.eye_array(100))
    mat = to_mat(system)
    ksp = make(mat, RecyclingMINRES(20, 5), rtol=1e-8)
    for _ in range(5):
        b = system @ rng.standard_normal(100)
        x = to_vec(mat, b)
        ksp.solve(to_vec(mat, b), x)
        assert ksp.getConvergedReason() > 0
        assert np.linalg.norm(b - system @ x.getArray()) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("recycle", [0, 5])
def test_an_inconsistent_system_stagnates_at_the_least_residual(rng, recycle):
    system = periodic(60)
    mat = to_mat(system)
    ksp = make(mat, RecyclingMINRES(20, recycle), rtol=1e-8, max_it=20_000)
    for _ in range(2):
        b = rng.standard_normal(60) + 1.0
        x = to_vec(mat, b)
        ksp.solve(to_vec(mat, b), x)
        assert ksp.getConvergedReason() == DIVERGED.DIVERGED_BREAKDOWN
        least = abs(b.mean()) * np.sqrt(60)
        assert np.linalg.norm(b - system @ x.getArray()) <= 1.001 * least


def test_a_tolerance_below_rounding_is_not_reported_as_reached(rng):
    system = helmholtz(15, 1)[0]
    mat = to_mat(system)
    b = rng.standard_normal(225)
    ksp = make(mat, RecyclingMINRES(20, 5), rtol=1e-20)
    x = to_vec(mat, b)
    ksp.solve(to_vec(mat, b), x)
    assert ksp.getConvergedReason() == DIVERGED.DIVERGED_BREAKDOWN
    assert np.linalg.norm(b - system @ x.getArray()) <= 1e-12 * np.linalg.norm(b)


@pytest.mark.parametrize("seeded", [False, True])
def test_an_indefinite_preconditioner_is_named(rng, seeded):
    (system,) = helmholtz(12, 1)
    mat = to_mat(system)
    indefinite = to_mat(sp.diags_array(np.where(np.arange(144) % 7, 1.0, -2.0)))
    context = RecyclingMINRES(20, 5)
    if seeded:
        context.space = np.asfortranarray(np.eye(144)[:, :14])
    ksp = make(mat, context, "jacobi", definite=indefinite)
    b = to_vec(mat, rng.standard_normal(144))
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == DIVERGED.DIVERGED_INDEFINITE_PC


def test_nan_is_named(rng):
    system = helmholtz(12, 1)[0]
    system[5, 5] = np.nan
    mat = to_mat(system)
    ksp = make(mat, RecyclingMINRES(20, 5))
    b = to_vec(mat, rng.standard_normal(144))
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == DIVERGED.DIVERGED_NANORINF


def test_a_dependent_recycled_space_loses_only_the_dependent_part(rng):
    mat = to_mat(helmholtz(20, 1)[0])
    b = to_vec(mat, rng.standard_normal(400))
    context = RecyclingMINRES(30, 10)
    space = rng.standard_normal((400, 4))
    spoilt = np.full((400, 1), np.nan)
    context.space = np.asfortranarray(
        np.hstack([space, spoilt, space @ rng.standard_normal((4, 4))])
    )
    ksp = make(mat, context)
    ksp.solve(b, b.duplicate())
    assert context.counts.recycled == 4
    assert ksp.getConvergedReason() > 0


def test_c_is_orthonormal_and_z_orthogonal_to_it_in_bad_cases_too(monkeypatch, rng):
    """A recycled space with a condition of 1e5, whose image holds the right-hand side nearly."""
    system = helmholtz(20, 1)[0]
    mat = to_mat(system)
    context = RecyclingMINRES(30, 8)
    mixing = np.logspace(0, -5, 8)[:, None] * np.linalg.qr(rng.standard_normal((8, 8)))[0]
    context.space = np.asfortranarray(np.linalg.qr(rng.standard_normal((400, 8)))[0] @ mixing)
    b = system @ context.space @ rng.standard_normal(8) + 1e-6 * rng.standard_normal(400)
    errors = []
    step = RecyclingMINRES._step

    def watch(self):
        c, z = self._c[:, : self._held], self._lanczos[:, self._column]
        errors.append(max(abs(c.T @ c - np.eye(self._held)).max(), abs(c.T @ z).max()))
        return step(self)

    monkeypatch.setattr(RecyclingMINRES, "_step", watch)
    ksp = make(mat, context, rtol=1e-12)
    ksp.solve(to_vec(mat, b), to_vec(mat, b))
    assert ksp.getConvergedReason() > 0 and context.counts.recycled == 8
    assert len(errors) > 10 and max(errors) < 1e-13


# Behaviour as a KSP


def test_zero_right_hand_side_and_exact_guess(rng):
    system = helmholtz(15, 1)[0]
    mat = to_mat(system)
    exact = rng.standard_normal(225)
    ksp = make(mat, RecyclingMINRES(20, 5), rtol=1e-8)
    b = to_vec(mat, system @ exact)
    x = b.duplicate()
    ksp.solve(b, x)
    held = ksp.getPythonContext().space.copy()
    ksp.solve(to_vec(mat, np.zeros(225)), x)
    assert ksp.getIterationNumber() == 0 and ksp.getConvergedReason() > 0
    assert not x.getArray().any()
    ksp.setInitialGuessNonzero(True)
    x = to_vec(mat, exact)
    ksp.solve(b, x)
    assert ksp.getIterationNumber() == 0 and ksp.getConvergedReason() > 0
    np.testing.assert_array_equal(x.getArray(), exact)
    np.testing.assert_array_equal(ksp.getPythonContext().space, held)


def test_options_prefix_view_monitor_and_history(rng, tmp_path):
    mat = to_mat(helmholtz(15, 1)[0])
    b = to_vec(mat, rng.standard_normal(225))
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setOptionsPrefix("mine_")
    options = PETSc.Options("mine_")
    chosen = {
        "ksp_type": "python",
        "ksp_python_type": "kryloset.krylov.RecyclingMINRES",
        "ksp_rminres_restart": 17,
        "ksp_rminres_recycle": 6,
        "ksp_rtol": 1e-6,
        "pc_type": "jacobi",
        "pc_jacobi_abs": True,
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
    assert "recycling MINRES: restart=17, recycle=6, directions held=6" in text


def test_the_iteration_limit_is_kept(rng):
    mat = to_mat(helmholtz(30, 1)[0])
    b = to_vec(mat, rng.standard_normal(900))
    for limit in (0, 1, 23):
        ksp = make(mat, RecyclingMINRES(10, 4), max_it=limit)
        ksp.solve(b, b.duplicate())
        assert ksp.getIterationNumber() == limit
        assert ksp.getConvergedReason() == DIVERGED.DIVERGED_MAX_IT


def test_a_convergence_test_of_the_user_decides(rng):
    mat = to_mat(helmholtz(20, 1)[0])
    b = to_vec(mat, rng.standard_normal(400))
    ksp = make(mat, RecyclingMINRES(20, 5))
    ksp.setConvergenceTest(lambda _ksp, its, _norm: its >= 33)
    ksp.solve(b, b.duplicate())
    assert ksp.getIterationNumber() == 33


def test_a_reset_forgets_and_the_next_solve_works(rng):
    mat = to_mat(helmholtz(15, 1)[0])
    b = to_vec(mat, rng.standard_normal(225))
    context = RecyclingMINRES(20, 5)
    ksp = make(mat, context)
    ksp.solve(b, b.duplicate())
    ksp.reset()
    assert context.space is None
    ksp.setOperators(mat)
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() > 0 and context.counts.recycled == 0


def test_definite_systems_too(rng):
    systems = sequence(20, 6)
    mat = to_mat(systems[0])
    b = to_vec(mat, rng.standard_normal(400))
    ksp = make(mat, RecyclingMINRES(30, 10), "icc")
    counts = []
    for system in systems:
        refill(mat, system)
        ksp.solve(b, b.duplicate())
        assert ksp.getConvergedReason() > 0
        counts.append(ksp.getIterationNumber())
    assert counts[-1] < counts[0]


def test_memory_is_m_plus_2k_plus_work_vectors():
    mat = to_mat(laplacian(10))
    context = RecyclingMINRES(40, 20)
    make(mat, context).setUp()
    lists = [v for v in vars(context).values() if isinstance(v, list)]
    everything = [*vars(context).values(), *(v for values in lists for v in values)]
    owned = [a for a in everything if isinstance(a, np.ndarray) and a.shape[0] == 100]
    vectors = [v for v in everything if isinstance(v, PETSc.Vec)]
    own = {v.handle for v in vectors} - {v.handle for v in context._columns}
    held = sum(a.size for a in owned) // 100 + len(own)
    assert held == 40 + 2 * 20 + 9
