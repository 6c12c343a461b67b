# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling CG: deflated conjugate gradients for a sequence of s.p.d. systems.

Y. Saad, M. Yeung, J. Erhel and F. Guyomarc'h, "A deflated version of the conjugate gradient
algorithm", SIAM J. Sci. Comput. 21 (2000) 1909-1926, here with a preconditioner. A prime is
the conjugate transpose.
"""

import math
import time
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

from petsc4py import PETSc

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from kryloset.krylov.methods.dense import (
    DEPENDENT,
    Array,
    combine,
    inner,
    sum_over_ranks,
    wrap_columns,
)
from kryloset.krylov.methods.recycling_ksp import RecyclingKSP
from kryloset.krylov.revision import Revision, get_revision

SCALAR = np.dtype(PETSc.ScalarType)
SINGLE = np.dtype(np.complex64 if SCALAR.kind == "c" else np.float32)
pstrf: Any = lapack.get_lapack_funcs("pstrf", dtype=SCALAR)

WELL_CONDITIONED = 1e-2
"""Smallest pivot of the scaled Cholesky factor with which U is used as it is. Below it, the
columns are made A-orthonormal first."""

SINGLE_RANGE = 1e12
"""Largest u'A u of a space that is used as it is; the inverse is the smallest. Single precision
must hold U and A U."""

DRIFT = 1e-4
"""Factor by which the residual falls before U is removed from it again. By then the projections in
single precision have left errors of about 1e-7 of its former size, or 1e-3 of its present size."""

PROGRESS = 0.5
"""Largest ratio of a computed residual to the last one; above it the method has broken down."""

GAIN = 0.05
"""Fraction of the iterations that an update of the space must save to be followed by another."""

PATIENCE = 4
"""Factor by which the wait for the next update grows after an update that saved less."""

STALE = 1.25
"""Factor by which the iterations must grow for a space to count as outdated."""


@dataclass(frozen=True)
class Pace:
    """When the recycled space is updated, decided by iteration counts alone. Immutable.

    An update costs k applications of M^-1 and some dense work, as much as many iterations.
    While each update saves the fraction `GAIN` of the iterations, every solve makes one.
    Otherwise the wait grows by the factor `PATIENCE` each time, so that in the long run updates
    cost next to nothing. The wait ends when a solve takes more than `STALE` times `level`
    iterations.

    Attributes:
        level: iterations of the solve with which later ones are compared; 0 before it.
        age: solves since the last update.
        wait: solves from one update to the next.
    """

    level: int = 0
    age: int = 0
    wait: int = 1

    @property
    def due(self) -> bool:
        """Whether the next solve may update the space, and so has to collect directions."""
        return self.age == 0 or self.age >= self.wait

    def after(self, its: int) -> tuple[bool, "Pace"]:
        """Return whether a solve of `its` iterations updates the space, and the next pace."""
        first = self.age == 0
        gained = self.level == 0 or its <= (1 - GAIN) * self.level
        if first and not gained:
            return False, Pace(level=its, age=1, wait=PATIENCE * self.wait)
        if self.due:
            return True, Pace(level=its, age=0, wait=1 if first else self.wait)
        stale = its > STALE * self.level
        return False, replace(self, age=self.age + 1, wait=1 if stale else self.wait)


@dataclass
class _Harvest:
    """The scalars that determine the matrices of the harmonic problem over [V P].

    V is U until P is full for the first time, and then the last selection. V is U C plus a
    combination of directions that P held before, so that (A V)'z_j = C'(A U)'z_j. The first z
    after a selection is an exception: A times the last of those directions is not orthogonal
    to it.

    Attributes:
        open: whether directions are still collected.
        gram: V'A V.
        image: (A V)' M^-1 A V, or None while that is not known.
        coupling: C.
        first: (A V)'z_0 - C'(A U)'z_0.
        squares: r_j'z_j, one more than there are complete steps.
        images: (A U)'z_j, as many.
        lengths: alpha_j.
        energies: p_j'A p_j.
    """

    open: bool
    gram: Array
    image: Array | None
    coupling: Array
    first: Array
    squares: list[float] = field(default_factory=list)
    images: list[Array] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of complete directions in P: those whose next z is known, too."""
        return max(len(self.squares) - 1, 0)

    def select(self, wanted: int) -> Array:
        """Make V the harmonic Ritz vectors of smallest theta.

        Returns:
            Y, with the new V = [V P] Y and V'A V = I.
        """
        held, steps = len(self.gram), self.steps
        size = held + steps
        gram, image = (np.zeros((size, size), dtype=SCALAR) for _ in range(2))
        gram[:held, :held], image[:held, :held] = self.gram, self.image
        if steps:
            alpha, gamma = np.array(self.lengths[:steps]), np.array(self.squares)
            new = np.arange(held, size)
            gram[new, new] = self.energies[:steps]
            image[new, new] = (gamma[:-1] + gamma[1:]) / alpha**2
            beside = -gamma[1:-1] / (alpha[:-1] * alpha[1:])
            image[new[:-1], new[1:]] = image[new[1:], new[:-1]] = beside
            along = np.array(self.images) @ self.coupling.conj()
            along[0] += self.first
            image[:held, held:] = (-np.diff(along, axis=0) / alpha[:, None]).T
            image[held:, :held] = image[:held, held:].T.conj()
        length = 1 / np.sqrt(gram.diagonal().real)
        scale = np.outer(length, length)
        last = min(wanted, size) - 1
        theta, y = scipy.linalg.eigh(image * scale, gram * scale, subset_by_index=[0, last])
        y *= length[:, None]
        self.gram, self.image = np.eye(last + 1, dtype=SCALAR), np.diag(theta)
        self.coupling = self.coupling @ y[:held]
        if steps:
            self.first = -self.squares[-1] / self.lengths[steps - 1] * y[-1].conj()
        del self.squares[:-1], self.images[:-1]
        self.lengths, self.energies = [], []
        return np.asfortranarray(y)


class RecyclingCG(RecyclingKSP):
    """Recycling CG(m, k) as a Python context of a PETSc KSP, for A and M s.p.d.

    A system starts with A U, the matrix E = U'A U and the Galerkin guess x + U E^-1 U'r, which
    take k applications of A. CG follows, with search directions that are kept A-conjugate to U,

        p_{j+1} = z_{j+1} + beta_j p_j - U E^-1 (A U)' z_{j+1},    z = M^-1 r

    (Saad et al., Algorithm 3.5). It converges as CG does without the eigenvalues that U
    represents. In the solves that `Pace` chooses, m - k directions P are kept. F = [U P] then
    gives the k harmonic Ritz vectors of M^-1 A in the A-inner product with the smallest theta,

        (A F)' M^-1 (A F) y = theta F'A F y.

    They replace U in F each time P is full, and at the end they become the next U. The iteration
    itself is not affected, as in eigCG (Stathopoulos and Orginos, SIAM J. Sci. Comput. 32, 2010).
    Since r_i'z_j = 0 for i != j and M^-1 A p_j = (z_j - z_{j+1}) / alpha_j, both matrices follow
    from the scalars of the recurrence, except (A U)' M^-1 (A U), which takes k applications of
    M^-1.

    The reported norms come from the recurrence. When one passes the test, b - A x is computed.
    If that does not pass, the iteration starts again from it. p'A p <= 0 gives
    DIVERGED_INDEFINITE_MAT, r'z < 0 gives DIVERGED_INDEFINITE_PC.

    Memory bandwidth limits the projection in each iteration, so it reads U and A U in single
    precision. The search directions are then conjugate to U only to 1e-7. That costs no
    iterations: the residual is still that of x, and U is removed from it, in double precision,
    each time it has fallen by the factor `DRIFT`.

    Memory: m - k vectors for P, k each for U and A U (later the selected vectors), k + 1 for
    both in single precision, 3 for work.

    Attributes:
        pace: when the space is updated; part of `numbers`.
    """

    NAME = "rcg"
    LABEL = "recycling CG"

    def __init__(self, restart: int = 80, recycle: int = 20) -> None:
        """Make a context for recycling CG(restart, recycle).

        Raises:
            ValueError: unless 0 <= recycle < restart.
        """
        super().__init__(restart, recycle)
        self.pace = Pace()
        self._p_block: Array = np.zeros((0, 0), order="F")
        self._held = 0
        self._gram: Array = np.zeros((0, 0))
        self._harvest: _Harvest
        self._fitted: tuple[Revision, Array | None] | None = None

    def reset(self, ksp: PETSc.KSP) -> None:
        """Free the memory and forget the recycled space."""
        super().reset(ksp)
        self.pace = Pace()
        self._fitted = None

    @property
    def numbers(self) -> tuple[float, ...]:
        """What the method has learnt besides directions. Assign them to continue elsewhere."""
        return (*astuple(self.pace), *super().numbers)

    @numbers.setter
    def numbers(self, values: tuple[float, ...]) -> None:
        count = len(fields(Pace))
        self.pace = Pace(*(int(value) for value in values[:count]))
        RecyclingKSP.numbers.__set__(self, values[count:])  # type: ignore[attr-defined]

    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        rows = operator.getLocalSize()[0]
        width = self.restart - self.recycle
        if self._p_block.shape == (rows, width):
            return

        def block(columns: int) -> tuple[Array, list[PETSc.Vec]]:
            array = np.zeros((rows, columns), dtype=SCALAR, order="F")
            return array, wrap_columns(array, operator.comm)

        self._p_block, self._p = block(width)
        self._u_block, self._u = block(self.recycle)
        # A U, until the first selection overwrites it.
        self._v_block, self._v = block(self.recycle)
        self._work_block, (self._r, self._z, self._q) = block(3)
        # A U, U and two columns for work.
        self._single = np.zeros((rows, 2 * self.recycle + 2), dtype=SINGLE, order="F")
        self._fitted = None

    def _release(self) -> None:
        self._p_block = np.zeros((0, 0), order="F")

    # The method

    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Fit U to the operator, run CG and update U when it is time."""
        self._b, self._x = b, x
        if self.space is None:
            self.pace = Pace()
        reason = self._start(ksp, b, x, self._r)
        if reason:
            return reason
        self._selected = False
        self._fit()
        self.counts.recycled = self._held
        reason = self._run(ksp)
        if reason > 0 and self.recycle > 0:
            update, self.pace = self.pace.after(ksp.getIterationNumber())
            if update and self._harvest.steps + self._selected > 0:
                self._held = self._select(self._u_block)
                self._keep_space()
        return reason

    def _keep_space(self) -> None:
        self.space = self._u_block[:, : self._held].copy(order="F") if self._held else None

    def _fit(self) -> None:
        """Compute A U and E^-1, unless the last solve left them for these A and U.

        They depend on nothing else, so that computing them again would give the same bits.
        """
        start = time.perf_counter()
        revision = get_revision(self._operator)
        fitted, self._fitted = self._fitted, None
        kept = fitted is not None and fitted[0] == revision and fitted[1] is self.space
        if self._comm.allreduce(int(not kept)) > 0:
            self._apply_to_space()
            self._keep_space()
        if revision is not None:
            self._fitted = revision, self.space
        self._harvest = _Harvest(
            # A space that is set aside for more than this solve would be dropped.
            open=self.recycle > 0 and self.pace.due and self.benefit.waiting <= 1,
            gram=self._gram,
            image=None,
            coupling=np.eye(self._held, dtype=SCALAR),
            first=np.zeros(self._held, dtype=SCALAR),
        )
        self.counts.rebuild = time.perf_counter() - start

    def _apply_to_space(self) -> None:
        """Compute A U and E^-1, dropping dependent directions."""
        held = 0
        if self.space is not None:
            held = min(self.space.shape[1], self.recycle)
            self._u_block[:, :held] = self.space[:, :held]
        gram = self._inverse = np.zeros((0, 0), dtype=SCALAR)
        while held:
            for source, target in zip(self._u[:held], self._v[:held], strict=True):
                self._operator.mult(source, target)
            self.counts.operator += held
            u, au = self._u_block[:, :held], self._v_block[:, :held]
            gram = sum_over_ranks(inner(u, au), self._comm)
            transform, pivot = _conjugating(gram)
            square = gram.diagonal().real
            fits = square.min() > 1 / SINGLE_RANGE and square.max() < SINGLE_RANGE
            if transform.shape[1] == held and pivot >= WELL_CONDITIONED and fits:
                self._inverse = np.dot(transform, transform.T.conj())
                self._single[:, :held] = au
                self._single[:, held : 2 * held] = u
                break
            # Rare. A is applied again, since combining columns of A U would lose digits.
            # A dropped column may hold NaN, and zero times NaN is NaN.
            u[:, ~transform.any(axis=1)] = 0.0
            held = transform.shape[1]
            combine(u[:, :held], (u, transform))
        self._held, self._gram = held, gram

    def _remove_from_residual(self) -> None:
        """Set x += U E^-1 U'r and r to b - A x, so that U'r = 0."""
        if self._held == 0:
            return
        u, r, q = self._u_block[:, : self._held], self._work_block[:, 0], self._work_block[:, 2]
        y = np.dot(self._inverse, sum_over_ranks(np.dot(u.T, r.conj()).conj(), self._comm))
        np.dot(u, y, out=q)
        # Written behind PETSc's back: cached norms are stale.
        self._q.stateIncrease()
        self._x.axpy(1.0, self._q)
        # One product costs less than reading A U.
        self._compute_residual(self._b, self._x, self._r)

    def _run(self, ksp: PETSc.KSP) -> int:
        """Run deflated CG until the computed residual passes or stops falling."""
        diverged = PETSc.KSP.ConvergedReason
        its, reason, computed = 0, 0, math.inf
        while reason == 0:
            its, reason = self._descend(ksp, its)
            if reason < 0:
                break
            self._compute_residual(self._b, self._x, self._r)
            norm = self._r.norm()
            if not math.isfinite(norm):
                return int(diverged.DIVERGED_NANORINF)
            self._log(ksp, its, norm)
            reason = int(ksp.callConvergenceTest(its, norm))
            if reason == 0 and norm > PROGRESS * computed:
                reason = int(diverged.DIVERGED_BREAKDOWN)
            computed = norm
        return reason

    def _descend(self, ksp: PETSc.KSP, its: int) -> tuple[int, int]:
        """Run from the present residual until the recurrence's residual passes.

        Returns:
            The iteration number and the reason. An iteration that passes is not logged.
        """
        diverged = PETSc.KSP.ConvergedReason
        limit = ksp.getTolerances()[3]
        held, harvest, width = self._held, self._harvest, len(self._p)
        x, r, z, q = self._x, self._r, self._z, self._q
        mult, test = self._operator.mult, ksp.callConvergenceTest
        z_local, q_local = self._work_block[:, 1], self._work_block[:, 2]
        au, u = self._single[:, :held].T, self._single[:, held : 2 * held]
        z_single, part = self._single[:, -2], self._single[:, -1]

        self._remove_from_residual()
        removed = r.norm()
        if held and its < limit:
            reason = int(test(its + 1, removed))
            if reason > 0:
                # U alone solves it. Counted as a step: PETSc takes iteration 0 for the start.
                return its + 1, reason
        column, square, image = 0, 0.0, np.zeros(0)
        while its < limit:
            self._precondition(r, z)
            previous, square = square, float(r.dot(z).real)
            if not square > 0.0:
                if square < 0.0:
                    return its, diverged.DIVERGED_INDEFINITE_PC
                if square == 0.0:
                    return its, diverged.DIVERGED_BREAKDOWN
                return its, diverged.DIVERGED_NANORINF
            if held:
                # Scaled into the range of single precision, which ends at 1e-38.
                size = math.sqrt(square)
                np.multiply(z_local, 1 / size, out=z_single, casting="same_kind")
                image = np.dot(au, z_single.conj()).conj().astype(SCALAR)
                image = sum_over_ranks(image, self._comm)
                np.dot(u, np.dot(self._inverse, image).astype(SINGLE), out=part)
            p = self._p[column]
            if harvest.open:
                harvest.squares.append(square)
                harvest.images.append(image * math.sqrt(square))
                if harvest.steps == width:
                    self._select(self._v_block)
            if previous == 0.0:
                z.copy(p)
            elif harvest.open and width > 1:
                column = (column + 1) % width
                self._p[column].waxpy(square / previous, p, z)
                p = self._p[column]
            else:
                p.aypx(square / previous, z)
            if held:
                q_local[:] = part
                p.axpy(-size, q)
            mult(p, q)
            self.counts.operator += 1
            energy = float(p.dot(q).real)
            if not energy > 0.0:
                if energy <= 0.0:
                    return its, diverged.DIVERGED_INDEFINITE_MAT
                return its, diverged.DIVERGED_NANORINF
            length = square / energy
            if harvest.open:
                harvest.lengths.append(length)
                harvest.energies.append(energy)
            x.axpy(length, p)
            r.axpy(-length, q)
            its += 1
            norm = r.norm()
            if held and norm < DRIFT * removed:
                self._remove_from_residual()
                removed = norm = r.norm()
            if not math.isfinite(norm):
                return its, diverged.DIVERGED_NANORINF
            reason = int(test(its, norm))
            if reason > 0:
                harvest.open = False
                return its, reason
            self._log(ksp, its, norm)
            if reason < 0:
                return its, reason
        return its, diverged.DIVERGED_MAX_IT

    def _select(self, out: Array) -> int:
        """Set the leading columns of out to the vectors selected from [V P]; return how many."""
        harvest, steps, held = self._harvest, self._harvest.steps, len(self._harvest.gram)
        if harvest.image is None:
            image = np.zeros((held, held), dtype=SCALAR, order="F")
            au = self._v_block[:, :held].T
            for j in range(held):
                # q, since z may be in use.
                self._precondition(self._v[j], self._q)
                image[:, j] = np.dot(au, self._work_block[:, 2].conj()).conj()
            harvest.image = sum_over_ranks(image, self._comm)
        y = harvest.select(self.recycle)
        old = (self._v_block if self._selected else self._u_block)[:, :held]
        count = len(y.T)
        combine(out[:, :count], (old, y[:held]), (self._p_block[:, :steps], y[held:]))
        # It has overwritten A U, or U.
        self._selected, self._fitted = True, None
        return count


def _conjugating(gram: Array) -> tuple[Array, float]:
    """Return T with T' gram T = I, without the columns that depend on others.

    Args:
        gram: (k, k), Hermitian, semidefinite, U'A U.

    Returns:
        T (k, r), r <= k, and the smallest pivot of the Cholesky factor for unit columns: the
        sine, in the A-inner product, of the angle between a column and the others. Columns
        that are zero or not finite, or with u'A u <= 0, are dropped, too.
    """
    square = gram.diagonal().real
    good = np.flatnonzero(np.isfinite(square) & (square > 0))
    scale = 1 / np.sqrt(square[good])
    unit = gram[np.ix_(good, good)] * np.outer(scale, scale)
    factor, pivots, rank, _ = pstrf(unit, tol=DEPENDENT**2)
    pivots = pivots[:rank] - 1
    transform = np.zeros((len(gram), rank), dtype=gram.dtype)
    if rank == 0:
        return transform, 0.0
    inverse = scipy.linalg.solve_triangular(factor[:rank, :rank], np.eye(rank))
    transform[good[pivots]] = scale[pivots, None] * inverse
    return transform, float(factor.diagonal()[:rank].real.min())
