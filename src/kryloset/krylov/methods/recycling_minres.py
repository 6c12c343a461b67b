# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling MINRES, for sequences of Hermitian systems that need not be definite.

S. Wang, E. de Sturler and G. H. Paulino, "Large-scale topology optimization using
preconditioned Krylov subspace methods with recycling", Int. J. Numer. Meth. Engng 69 (2007)
2441-2468 (RMINRES), here with a Hermitian positive definite preconditioner M.
"""

import time

from petsc4py import PETSc

import numpy as np
from scipy.linalg import eigh, solve_triangular
from scipy.linalg.blas import get_blas_funcs
from scipy.linalg.lapack import get_lapack_funcs

from kryloset.krylov.methods.dense import (
    DEPENDENT,
    Array,
    combine,
    inner,
    sum_over_ranks,
    wrap_columns,
)
from kryloset.krylov.methods.recycling_ksp import RecyclingKSP

CANCELLATION = 100 * float(np.finfo(np.float64).eps)
"""Relative size up to which a difference is only rounding."""

STAGNATION_STEPS = 1000
"""Number of steps within which the residual must fall ..."""

STAGNATION_FACTOR = 0.99
"""... to this fraction of its value, or the solve has stagnated."""

CARRIED = 10.0
"""Size of a dual's part in M C above which this part is subtracted."""

STATIONARY = 1e-13
"""Fraction of ||K|| ||r|| below which K r counts as zero. Then r is the least residual."""

DOUBTFUL = 1e-8
"""Fraction of ||K|| ||r|| below which K r may be about to become zero. What follows may then be
rounding, and x may grow without bound, so that ..."""

DOUBT_STEPS = 100
"""... the residual is computed after at most this number of steps."""

DIP = 1e-3
"""Fraction of ||K|| ||r|| below which K r approaches zero, or A has small eigenvalues. The
residual is computed there, and again each time K r has fallen to a tenth. An inconsistent
singular system reaches its least residual where K r is smallest, and leaves it in one step."""

MISMATCH = 10.0
"""Ratio of the computed to the implicit residual above which the recurrence is not trusted."""


class RecyclingMINRES(RecyclingKSP):
    """Recycling MINRES as a Python context of a PETSc KSP; M Hermitian positive definite.

    K = M^-1 A is self-adjoint in the inner product <x, y> = x^H M y. All orthogonality here is
    in this product, <x, K y> = x^H A y and <K x, K y> = (A x)^H M^-1 (A y). Vectors are in the
    variable x.

    A system starts with C = K U, <C, C> = I, from the recycled space, which takes k applications
    of A and of M^-1. (A U = M C is then orthonormal in the inner product of M^-1.) One more
    application of A removes from the residual what U can. Then Lanczos' three-term recurrence
    with (I - C C^H M) K builds an orthonormal Z, orthogonal to C, and a tridiagonal T,
    (j + 1) x j:

        K Z_j = C B_j + Z_{j+1} T_j,    M^-1 r_0 = C c + Z_{j+1} e_1 rho,

    and MINRES minimises the norm of M^-1 r, which is that of r in M^-1, over
    x = x_0 + Z_j y + U (c - B_j y): ||rho e_1 - T_j y||. With T_j = Q_j R_j, the directions
    Z_j R_j^-1 and B_j R_j^-1 have three-term recurrences, too. So x takes two vectors, and its
    part in U a few numbers.

    Every Lanczos vector z is orthogonalised against C. The dual recurrence of PETSc's KSPMINRES
    gives v = M z, and so c = C^H v. To keep v orthogonal to C, too, M C would have to be stored
    beside U and C. Instead v contains M C s with a known s. The next product is A (z + U t),
    where t cancels s except for what is not known yet: B_j, and the change in the diagonal of T
    times s. If s grows nonetheless, two products with A remove it. Without a preconditioner
    M C = C and v = z.

    The next space U' is chosen anew after each window Z_w of m - k vectors. It is spanned by the
    k harmonic Ritz vectors of K over W = [U' Z_w] with theta closest to zero, on either side,
    that is, with the largest |mu| = 1/|theta| in

        W^H A W p = mu (A W)^H M^-1 (A W) p.

    Both matrices are Hermitian, and follow from T, B and small recurrences for U' without inner
    products. A short window separates eigenvectors near zero poorly from their neighbours. If the
    preconditioner is weak and eigenvalues lie on both sides, m = 3 k or 4 k gives a much better
    space than m = 2 k.

    Within the iteration the reported norms are ||r||_{M^-1}, in proportion to the last computed
    ||b - A x||. When one passes the test, b - A x is computed. If that does not pass, the
    iteration goes on, or restarts from the best x so far if the two norms disagree. Lanczos also
    restarts after a breakdown short of the tolerance. A restart that gains nothing is the last
    and gives DIVERGED_BREAKDOWN, as at the least residual of an inconsistent singular system. An
    M that is found not to be positive definite gives DIVERGED_INDEFINITE_PC.

    Memory, in vectors: 3 k for U, C and U', m - k + 1 for Lanczos, 8 for work.
    """

    NAME = "rminres"
    LABEL = "recycling MINRES"

    def __init__(self, restart: int = 40, recycle: int = 20) -> None:
        """Make a context that holds `restart` directions and recycles `recycle`.

        Raises:
            ValueError: unless 0 <= recycle < restart.
        """
        super().__init__(restart, recycle)
        self._lanczos: Array = np.zeros((0, 0), order="F")
        self._u = self._c = self._next = self._chosen = self._lanczos
        self._column = 0
        self._implicit = 0.0

    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        rows = operator.getLocalSize()[0]
        # Plain MINRES keeps no vectors, whatever the restart.
        self._window = self.restart - self.recycle if self.recycle else 1
        columns = self._window + 1
        if self._lanczos.shape == (rows, columns) and self._u.shape[1] == self.recycle:
            return
        dtype = np.dtype(PETSc.ScalarType)
        # The window and the vector after it.
        self._lanczos = np.zeros((rows, columns), dtype=dtype, order="F")
        self._columns = wrap_columns(self._lanczos, operator.comm)
        self._u, self._c, self._next = (
            np.zeros((rows, self.recycle), dtype=dtype, order="F") for _ in range(3)
        )
        # Partial: the iterate, but for the part U `_lacking`.
        self._partial, self._candidate, self._residual, *others = (
            operator.createVecRight() for _ in range(8)
        )
        # The last vectors first; the third of the duals is free for the next one.
        self._directions, self._duals = others[:2], others[2:]
        self._gemv = get_blas_funcs("gemv", dtype=dtype)
        # Coefficients of M C in the duals.
        self._in_dual = [np.zeros(0)] * 3
        # Entry i belongs to column i; beta[i] joins it to the vector before.
        self._alpha = np.zeros(columns)
        self._beta = np.zeros(columns)
        self._b = np.zeros((self.recycle, columns), dtype=dtype, order="F")

    def _release(self) -> None:
        self._lanczos = np.zeros((0, 0), order="F")

    # The method

    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Rebuild C, then run Lanczos, and restart it after a breakdown as long as that helps."""
        diverged = PETSc.KSP.ConvergedReason
        self._rhs, self._x = b, x
        reason = self._start(ksp, b, x, self._residual)
        self._norm = float(self._residual.norm())
        if reason != 0:
            return reason
        if ksp.getTolerances()[3] <= 0:
            return int(diverged.DIVERGED_MAX_IT)
        self._held = 0
        if self.space is not None and self.recycle > 0:
            if not self._rebuild(self.space[:, : self.recycle]):
                self.space = None
                return int(diverged.DIVERGED_INDEFINITE_PC)
            self.counts.recycled = self._held
        if self._held == 0:
            self._start_selection(np.zeros((0, 0)))
        # The largest ||K z|| so far.
        self._size = 0.0
        its, previous = 0, np.inf
        while reason == 0:
            if not self._norm <= STAGNATION_FACTOR * previous:
                reason = diverged.DIVERGED_BREAKDOWN
                break
            if its > 0:
                self._compute_residual(b, x, self._residual)
            previous = self._norm
            its, reason = self._run(ksp, its)
        ksp.setResidualNorm(self._norm)
        self.space = self._chosen.copy(order="F") if self._chosen.shape[1] else None
        return int(reason)

    def _run(self, ksp: PETSc.KSP, its: int) -> tuple[int, int]:
        """Run Lanczos and MINRES from x and its residual, to the end or a breakdown.

        Returns:
            The iteration number and the reason; 0 asks for a restart from the best x found.
        """
        diverged = PETSc.KSP.ConvergedReason
        limit = ksp.getTolerances()[3]
        measure, reason, ended = self._begin()
        if reason < 0:
            return its, reason
        scale = self._residual.norm() / measure if measure > 0 else 0.0
        looked = -DOUBT_STEPS
        milestones = [self._implicit]
        while True:
            its += 1
            if not ended:
                reason, ended = self._step()
            milestones.append(self._implicit)
            stagnant = len(milestones) > STAGNATION_STEPS and not (
                self._implicit <= STAGNATION_FACTOR * milestones.pop(0)
            )
            doubtful = self._doubtful and its - looked >= DOUBT_STEPS
            estimate = scale * self._implicit
            if reason == 0:
                reason = int(ksp.callConvergenceTest(its, estimate))
            if reason < 0:
                self._log(ksp, its, estimate)
                break
            if reason > 0 or ended or stagnant or doubtful or its >= limit:
                norm, reason = self._look(ksp, its)
                looked = its
                if reason == 0 and its >= limit:
                    reason = diverged.DIVERGED_MAX_IT
                elif reason == 0 and stagnant:
                    reason = diverged.DIVERGED_BREAKDOWN
                if reason != 0 or ended or not self._recurrence_holds():
                    break
                scale = norm / self._implicit
            else:
                self._log(ksp, its, estimate)
            if self._column == self._window:
                self._select()
                self._columns[self._window].copy(self._columns[0])
                self._beta[0] = self._beta[self._window]
                self._column = 0
        self._select()
        return its, int(reason)

    def _begin(self) -> tuple[float, int, bool]:
        """Remove from the residual what U can, and make the first Lanczos vector.

        Returns:
            ||r||_{M^-1}, a reason to give up or 0, and whether nothing is left of r.
        """
        diverged = PETSc.KSP.ConvergedReason
        self._x.copy(self._partial)
        if self._held:
            c = self._c[:, : self._held]
            self._add_recycled(self._partial, self._products(self._residual, c))
            self._compute_residual(self._rhs, self._partial, self._residual)
        dual = self._duals[0]
        self._residual.copy(dual)
        self._in_dual[0], total, left = self._project(dual, 0)
        # What x still lacks in U: hardly more than rounding, after the removal above.
        self._lacking = self._in_dual[0]
        if not np.isfinite(total):
            return total, diverged.DIVERGED_NANORINF, True
        if min(total, left + CANCELLATION * total) < 0 or (
            total == 0 and self._residual.norm() > 0
        ):
            return total, diverged.DIVERGED_INDEFINITE_PC, True
        ended = not left > CANCELLATION * total
        self._column = 0
        self._implicit = 0.0 if ended else float(np.sqrt(left))
        self._signed = self._implicit
        self._doubtful = False
        self._depth = DIP
        self._rotations = (1.0, 0.0, 1.0, 0.0)
        self._alpha_before = self._beta[0] = 0.0
        # <U', K z> for the chosen space U' and the vectors z before and at column 0.
        self._overlap = np.zeros((self._chosen.shape[1], 2))
        nothing = np.zeros_like(self._lacking)
        self._in_dual[1] = nothing
        self._folds = [nothing, nothing]
        for vector in (self._duals[1], *self._directions):
            vector.set(0.0)
        if not ended:
            self._normalise(0, self._implicit)
        return float(np.sqrt(total)), 0, ended

    def _project(self, dual: PETSc.Vec, column: int) -> tuple[Array, float, float]:
        """Set a Lanczos vector to M^-1 dual minus its part in C.

        Returns:
            The coefficients of that part, and the squares of M^-1 dual in the norm of M
            before and after.
        """
        c = self._c[:, : self._held]
        block = self._lanczos[:, column : column + 1]
        self._precondition(dual, self._columns[column])
        products = self._products(dual, c, block)
        self._subtract(c, products[:-1], block[:, 0])
        after = self._products(dual, block)[0]
        return products[:-1], float(products[-1].real), float(after.real)

    def _normalise(self, column: int, length: float) -> None:
        """Divide a Lanczos vector, the last dual and this dual's part in M C by a length."""
        self._columns[column].scale(1.0 / length)
        if self._identity:
            # M C is C, and has been subtracted.
            self._columns[column].copy(self._duals[0])
            self._in_dual[0] = np.zeros_like(self._in_dual[0])
        else:
            self._duals[0].scale(1.0 / length)
            self._in_dual[0] = self._in_dual[0] / length

    def _clear_duals(self) -> None:
        """Subtract from the last two duals their parts in M C = A U."""
        spare = self._duals[2]
        for i in range(2):
            self._candidate.set(0.0)
            self._add_recycled(self._candidate, self._in_dual[i])
            self._operator.mult(self._candidate, spare)
            self.counts.operator += 1
            self._duals[i].axpy(-1.0, spare)
            self._in_dual[i] = np.zeros_like(self._in_dual[i])

    def _step(self) -> tuple[int, bool]:
        """Take a step of Lanczos and one of MINRES.

        Returns:
            A reason to give up or 0, and whether the Krylov space is exhausted.
        """
        diverged = PETSc.KSP.ConvergedReason
        i = self._column
        z = self._columns[i]
        dual, dual_before, image = self._duals
        in_dual, in_dual_before, _ = self._in_dual
        beta = float(self._beta[i])
        # Cancels the part in M C, except for the change of alpha and the new b.
        correction = self._alpha_before * in_dual + beta * in_dual_before
        if correction.any():
            z.copy(self._candidate)
            self._add_recycled(self._candidate, correction)
            self._operator.mult(self._candidate, image)
        else:
            self._operator.mult(z, image)
        self.counts.operator += 1
        alpha = float(self._products(image, self._lanczos[:, i : i + 1])[0].real)
        image.maxpy([-beta, -alpha], [dual_before, dual])
        in_image, total, after = self._project(image, i + 1)
        if not np.isfinite(total):
            return diverged.DIVERGED_NANORINF, True
        if min(total, after + CANCELLATION * total) < 0:
            return diverged.DIVERGED_INDEFINITE_PC, True
        b = in_image + alpha * in_dual + beta * in_dual_before - correction
        size = float(np.sqrt(max(after, 0.0) + alpha**2 + beta**2 + np.vdot(b, b).real))
        self._size = max(self._size, size)
        ended = not after > (CANCELLATION * self._size) ** 2
        beta_next = 0.0 if ended else float(np.sqrt(after))
        self._duals = [image, dual, dual_before]
        self._in_dual = [in_image, in_dual, in_dual_before]
        if ended:
            self._columns[i + 1].set(0.0)
        else:
            self._normalise(i + 1, beta_next)
            if np.vdot(self._in_dual[0], self._in_dual[0]).real > CARRIED**2:
                self._clear_duals()
        self._alpha[i], self._beta[i + 1] = alpha, beta_next
        self._alpha_before = alpha
        self._b[: self._held, i] = b
        self._column += 1
        regular = self._minimise(z, b, (beta, alpha, beta_next))
        return 0, ended or not regular

    def _minimise(self, z: PETSc.Vec, b: Array, entries: tuple[float, float, float]) -> bool:
        """Add a column to T = Q R and update x, unless R would become singular.

        Returns:
            Whether R is still regular.
        """
        beta, alpha, beta_next = entries
        cos, sin, cos_before, sin_before = self._rotations
        above = sin_before * beta
        beside = cos * cos_before * beta + sin * alpha
        diagonal = cos * alpha - sin * cos_before * beta
        # ||K r|| / ||r||, before this step.
        steepness = float(np.hypot(diagonal, cos * beta_next))
        self._doubtful = self._doubtful or steepness <= DOUBTFUL * self._size
        if steepness <= STATIONARY * self._size:
            return False
        if steepness <= self._depth * self._size:
            self._depth = 0.1 * steepness / self._size
            self._compare()
        rho = float(np.hypot(diagonal, beta_next))
        last, oldest = self._directions
        oldest.axpby(1.0 / rho, -above / rho, z)
        oldest.axpy(-beside / rho, last)
        self._directions = [oldest, last]
        fold = (b - above * self._folds[1] - beside * self._folds[0]) / rho
        self._folds = [fold, self._folds[0]]
        self._rotations = (diagonal / rho, beta_next / rho, cos, sin)
        length = self._signed * diagonal / rho
        self._partial.axpy(length, oldest)
        self._lacking = self._lacking - length * fold
        self._signed *= -beta_next / rho
        self._implicit = abs(self._signed)
        return True

    def _look(self, ksp: PETSc.KSP, its: int) -> tuple[float, int]:
        """Complete the iterate, compute its residual and keep it if it is the best so far.

        Returns:
            The norm of the residual and what the convergence test says.
        """
        norm = self._compare()
        self._log(ksp, its, norm)
        reason = int(ksp.callConvergenceTest(its, norm))
        if reason > 0:
            # A user's test may accept it, though another x had a smaller residual.
            self._candidate.copy(self._x)
            self._norm = norm
        return norm, reason

    def _compare(self) -> float:
        """Complete the iterate, keep it if it is the best so far, and return its residual's norm.

        The residual itself stays in `_residual`.
        """
        self._partial.copy(self._candidate)
        self._add_recycled(self._candidate, self._lacking)
        self._compute_residual(self._rhs, self._candidate, self._residual)
        norm = float(self._residual.norm())
        if norm < self._norm:
            self._candidate.copy(self._x)
            self._norm = norm
        return norm

    def _recurrence_holds(self) -> bool:
        """Whether the computed residual agrees with the recurrence, in the norm of M^-1."""
        spare = self._duals[2]
        self._precondition(self._residual, spare)
        computed = spare.dot(self._residual)
        return bool(computed.real <= (MISMATCH * self._implicit) ** 2)

    # The recycled space

    def _rebuild(self, y: Array) -> bool:
        """Make U spanning range(Y) and C = K U with <C, C> = I for the present operator.

        Cholesky QR, twice, as in `orthonormalise`, in the inner product of M: its Gram
        matrix is C^H (A U).

        Returns:
            False if M is not positive definite.
        """
        start = time.perf_counter()
        size = y.shape[1]
        u, c, images = self._u[:, :size], self._c[:, :size], self._next[:, :size]
        u[:] = y
        source, image, target = self._duals
        for i in range(size):
            for vector, block in zip(self._duals, (u, images, c), strict=True):
                vector.placeArray(block[:, i])
            self._operator.mult(source, image)
            self._precondition(image, target)
            for vector in self._duals:
                vector.resetArray()
        self.counts.operator += size
        gram = sum_over_ranks(inner(c, images), self._comm)
        definite = not (gram.diagonal().real < 0).any()
        forms = np.zeros((0, 0))
        self._held = 0
        for _ in range(2 if definite else 0):
            transform = _normaliser(gram)
            self._held = transform.shape[1]
            dropped = np.flatnonzero(~transform.any(axis=1))
            blocks = [block[:, : transform.shape[0]] for block in (u, c, images)]
            for block in blocks:
                # A dropped column may hold NaN, and zero times NaN is NaN.
                block[:, dropped] = 0.0
                combine(block[:, : self._held], (block, transform))
            u, c, images = (block[:, : self._held] for block in blocks)
            gram, forms = sum_over_ranks(np.stack([inner(c, images), inner(u, images)]), self._comm)
        self._start_selection(forms)
        self.counts.rebuild += time.perf_counter() - start
        return definite

    def _start_selection(self, forms: Array) -> None:
        """Start the choice of the next space from U."""
        self._chosen = self._u[:, : self._held]
        # <C, K U'> and <U', K U'> of the chosen space U'.
        self._in_c: Array = np.eye(self._held)
        self._forms = forms

    def _select(self) -> None:
        """Choose the next space from the one chosen so far and the window's vectors."""
        count = self._column
        if count == 0 or self.recycle == 0:
            return
        size = self._chosen.shape[1]
        index = np.arange(count)
        # Rows: the vector before the window, the window, the vector after it.
        t = np.zeros((count + 2, count))
        t[index, index] = self._beta[:count]
        t[index + 1, index] = self._alpha[:count]
        t[index + 2, index] = self._beta[1 : count + 1]
        b = self._b[: self._held, :count]
        overlap = np.hstack([self._overlap, np.zeros((size, count))])
        cross = self._in_c.conj().T @ b + overlap @ t
        images = np.block([[np.eye(size), cross], [cross.conj().T, b.conj().T @ b + t.T @ t]])
        side = overlap[:, 1:-1]
        forms = np.block([[self._forms, side], [side.conj().T, t[1:-1]]])
        p = _largest(forms, images, self.recycle, 1 / (DEPENDENT * self._size))
        old, new = p[:size], p[size:]
        self._in_c = self._in_c @ old + b @ new
        self._forms = p.conj().T @ forms @ p
        ahead = np.zeros((count, 2))
        ahead[:, 0] = t[1:-1, -1]
        ahead[-1, 1] = self._beta[count]
        self._overlap = old.conj().T @ overlap[:, -2:] + new.conj().T @ ahead
        chosen = self._next[:, : p.shape[1]]
        combine(chosen, (self._chosen, old), (self._lanczos[:, :count], new))
        self._chosen = chosen

    # Arithmetic on local rows

    def _products(self, vector: PETSc.Vec, *blocks: Array) -> Array:
        """Return the inner products of the blocks' columns with a vector, one after another."""
        conjugate = vector.getArray(readonly=True).conj()
        local = np.concatenate([np.dot(block.T, conjugate) for block in blocks])
        return sum_over_ranks(local.conj(), self._comm)

    def _subtract(self, block: Array, coefficients: Array, vector: Array) -> None:
        """Set vector -= block @ coefficients in place."""
        if block.size:
            self._gemv(-1.0, block, coefficients, 1.0, vector, overwrite_y=1)

    def _add_recycled(self, vector: PETSc.Vec, coefficients: Array) -> None:
        """Set vector += U coefficients."""
        self._subtract(self._u[:, : self._held], -coefficients, vector.getArray())
        # Written behind PETSc's back: its cached norms are stale.
        vector.stateIncrease()


def _normaliser(gram: Array) -> Array:
    """Return T with T^H gram T = I, with zero rows for columns that depend on the others.

    Args:
        gram: (k, k), Hermitian positive semidefinite up to rounding.

    Returns:
        (k, r), r <= k. Columns that are zero or not finite are dropped, too.
    """
    square = gram.diagonal().real
    good = np.flatnonzero(np.isfinite(square) & (square > 0))
    transform = np.zeros((gram.shape[0], 0), dtype=gram.dtype)
    if good.size == 0:
        return transform
    scale = 1 / np.sqrt(square[good])
    unit = gram[np.ix_(good, good)] * np.outer(scale, scale)
    (pstrf,) = get_lapack_funcs(("pstrf",), (unit,))
    factor, pivots, rank, _ = pstrf(unit, tol=DEPENDENT**2)
    kept = pivots[:rank] - 1
    transform = np.zeros((gram.shape[0], rank), dtype=gram.dtype)
    inverse = solve_triangular(factor[:rank, :rank], np.eye(rank))
    transform[good[kept]] = scale[kept, None] * inverse
    return transform


def _largest(forms: Array, images: Array, size: int, bound: float) -> Array:
    """Return the eigenvectors P of forms p = mu images p with the `size` largest |mu|.

    P^H images P = I. Any |mu| above `bound` is left out, since the image of its vector is only
    rounding.
    """
    if not (np.isfinite(forms).all() and np.isfinite(images).all()):
        return np.zeros((forms.shape[0], 0), dtype=forms.dtype)
    transform = _normaliser(images)
    reduced = transform.conj().T @ forms @ transform
    mu, vectors = eigh((reduced + reduced.conj().T) / 2)
    order = np.argsort(-abs(mu), kind="stable")
    wanted = order[abs(mu[order]) <= bound][:size]
    chosen: Array = transform @ vectors[:, wanted]
    return chosen
