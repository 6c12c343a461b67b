# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Several right-hand sides with one matrix: block GCRO-DR for a sequence of them.

M. L. Parks, K. M. Soodhalter and D. B. Szyld, "A block recycled GMRES method with
investigations into aspects of solver performance" (2016), after R. B. Morgan, "Restarted
block-GMRES with deflation of eigenvalues", Appl. Numer. Math. 54 (2005) 222-236. Here
preconditioned from the left (B = M^-1 A), so that the recycled directions are in the variable
x, as those of `GCRODR` are: each method can go on with the other's space.
"""

import math
import time
from dataclasses import dataclass, replace

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular
from scipy.linalg.lapack import get_lapack_funcs

from kryloset.krylov.dense import (
    Array,
    combine,
    harmonic_subspace,
    inner,
    orthonormalise,
    sum_over_ranks,
)
from kryloset.krylov.gcrodr import (
    EPSILON,
    MISMATCH,
    RISE,
    STAGNATION_CYCLES,
    STAGNATION_FACTOR,
)
from kryloset.krylov.preconditioner import Preconditioner, set_up_preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.recycling_ksp import Counts
from kryloset.krylov.scaling import is_safe, shift
from kryloset.krylov.solver import SequenceSolver
from kryloset.krylov.state import SolverState

NEGLIGIBLE = 0.1
"""Part of its tolerance that a cycle may leave of a residual without having looked at it."""

ROUNDING = 10 * EPSILON
"""Part of a vector's length that is rounding, once the rest has been taken away."""

HARMLESS = math.sqrt(EPSILON)
"""What can be taken from orthonormal vectors, at a right angle, and leave them orthonormal."""

DOUBTFUL = math.sqrt(0.5)
"""What a unit vector must keep when it is orthogonalised again; else it was rounding."""


@dataclass(frozen=True, eq=False)
class BlockSolveResult:
    """One solved (or failed) system A X = B of s right-hand sides.

    Attributes:
        solutions: X, a dense Mat (n x s) of its own.
        iterations: block steps: products of A with a block of at most s vectors. Those that
            rebuild the recycled space or compute a residual are not among them.
        operator_applications: products of A with a vector, all of them.
        preconditioner_applications: products of M^-1 with a vector, all of them (with none:
            of the identity).
        true_residuals: (s,): ||b_j - A x_j|| / ||b_j||, computed from A, x_j and b_j; 0 for
            b_j = 0, whose solution is 0.
        seconds_setup: preconditioner, and the work memory where new was due.
        seconds_rebuild: making C = M^-1 A U of the recycled space.
        seconds_iterate: the rest of the solve.
        reason: why it ended.
        recycled: whether directions from an earlier system took part.
    """

    solutions: PETSc.Mat
    iterations: int
    operator_applications: int
    preconditioner_applications: int
    true_residuals: NDArray[np.float64]
    seconds_setup: float
    seconds_rebuild: float
    seconds_iterate: float
    reason: Reason
    recycled: bool

    @property
    def converged(self) -> bool:
        """Whether every true residual is within the tolerance."""
        return self.reason is Reason.CONVERGED


@dataclass(frozen=True)
class BlockSolver:
    """How to solve each system A X = B of a sequence by block GCRO-DR(restart, recycle).

    The counterpart of `SequenceSolver` for several right-hand sides with each matrix; their
    states are interchangeable. Numbers only; what changes is `SolverState`. Refill one Mat
    for all systems where you can.

    A cycle holds `restart` directions, the recycled ones and s for each block step; recycle +
    10 s is a good choice. With fewer than recycle + s, right-hand sides take part by turns.

    A block needs fewer products with A and M^-1 than right-hand sides that recycle one after
    the other, since they share what rebuilds the space, but orthogonalises each new direction
    against more others. On five-point stencils with ILU (n = 10^4, s = 8) that costs more
    than it saves, and CG is faster still where it applies: a block is for products that are
    expensive in comparison.

    Attributes:
        preconditioner: as for `SequenceSolver`.
        tolerance: on every true relative residual ||b_j - A x_j|| / ||b_j||.
        restart: directions a cycle may hold, all columns counted.
        recycle: of these, directions carried on.
        max_iterations: block steps per system.

    Raises:
        ValueError: for a name that is not known or a number out of range.
    """

    preconditioner: Preconditioner = "ilu"
    tolerance: float = 1e-8
    restart: int = 100
    recycle: int = 20
    max_iterations: int = 10_000

    def __post_init__(self) -> None:
        """Check the numbers."""
        # The rules are those of a sequence with one right-hand side each.
        SequenceSolver(
            "gcrodr",
            self.preconditioner,
            self.tolerance,
            self.restart,
            self.recycle,
            self.max_iterations,
        )

    def init(self) -> SolverState:
        """Return the state before the first system: nothing recycled."""
        return SolverState()

    def solve(
        self, operator: PETSc.Mat, right_hand_sides: PETSc.Mat, state: SolverState
    ) -> tuple[BlockSolveResult, SolverState]:
        """Solve operator X = right_hand_sides with what `state` recycles. Collective.

        A failure is a result too (`reason`, and X where it stopped); the state that comes
        back then recycles nothing. One call counts as one system in the state.

        Right-hand sides may be zero, equal or dependent: a direction enters the block once.

        Args:
            operator: square, assembled.
            right_hand_sides: dense (n x s), its rows laid out as the operator's; columns are
                right-hand sides. (A NumPy block of local rows becomes one by
                `PETSc.Mat().createDense`.)
            state: from `init`, an earlier solve or `SolverState.load`; left as it is.

        Raises:
            ValueError: if the sizes do not fit, or the right-hand sides are not dense.
        """
        rows, columns = operator.getLocalSize()
        if rows != columns or right_hand_sides.getLocalSize()[0] != rows:
            raise ValueError(
                f"a square operator and right-hand sides of its size are needed, got local "
                f"sizes {rows} x {columns} and {right_hand_sides.getLocalSize()[0]}"
            )
        if "dense" not in right_hand_sides.getType():
            raise ValueError(
                f"the right-hand sides are a Mat of type {right_hand_sides.getType()}: "
                "convert it to dense"
            )
        if state.space is not None and state.space.shape[0] != rows:
            raise ValueError(
                f"the state recycles vectors with {state.space.shape[0]} local rows, the "
                f"operator has {rows}: start with BlockSolver.init() or use the same ranks"
            )
        comm = operator.comm.tompi4py()
        b = right_hand_sides.getDenseArray(readonly=True)
        x = np.zeros(b.shape, dtype=PETSc.ScalarType, order="F")
        exponents = _exponents(b, comm)
        if exponents.any():
            b = b.copy(order="F")
            for j in np.flatnonzero(exponents):
                shift(b[:, j], -exponents[j])
        norms = _norms(b, comm)
        residuals = np.where(norms > 0, 1.0, 0.0)
        counts, iterations, space, kept = Counts(), 0, state.space, state.workspace
        setup = iterate = 0.0
        if not np.isfinite(norms).all():
            reason, residuals = Reason.NON_FINITE, np.where(np.isfinite(norms), residuals, np.nan)
        elif not norms.any():
            reason = Reason.CONVERGED
        else:
            start = time.perf_counter()
            method = state.workspace
            if not (isinstance(method, _BlockGCRODR) and method.serves(self, operator, len(norms))):
                method = _BlockGCRODR(self, operator, len(norms))
            reason = method.prepare()
            setup = time.perf_counter() - start

            start = time.perf_counter()
            if reason is Reason.CONVERGED:
                reason = method.run(b, x, norms, state.space)
                residuals[norms > 0] = (method.norms / np.where(norms > 0, norms, 1))[norms > 0]
            counts, iterations, space, kept = method.counts, method.iterations, method.space, method
            for j in np.flatnonzero(exponents):
                # At the ends of the range digits are lost.
                shift(x[:, j], exponents[j])
                residuals[j] = method.residual_of(b[:, j], x[:, j], -exponents[j]) / norms[j]
            if reason is Reason.CONVERGED and not (residuals <= self.tolerance).all():
                reason = Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE
            iterate = time.perf_counter() - start - counts.rebuild
        result = BlockSolveResult(
            solutions=_to_dense(x, operator, right_hand_sides.getSizes()[1]),
            iterations=iterations,
            operator_applications=counts.operator,
            preconditioner_applications=counts.preconditioner,
            true_residuals=residuals,
            seconds_setup=setup,
            seconds_rebuild=counts.rebuild,
            seconds_iterate=iterate,
            reason=reason,
            recycled=counts.recycled > 0,
        )
        # What failed may hold half a factor or a bad space: the next system gets new ones.
        return result, replace(
            state,
            space=space if result.converged else None,
            systems=state.systems + 1,
            failures=state.failures + (not result.converged),
            iterations=state.iterations + iterations,
            operator_applications=state.operator_applications + counts.operator,
            preconditioner_applications=(state.preconditioner_applications + counts.preconditioner),
            workspace=kept if result.converged else None,
        )


class _BlockGCRODR:
    """Block GCRO-DR(m, k) bound to one operator and one number s of right-hand sides.

    With U, C = B U and C'C = I a cycle starts from the residuals' block
    Z = M^-1 (B - A X) = C P + V_1 S + (what is negligible), takes block Arnoldi steps with
    (I - C C') B and minimises every column of the residual over range([U V]):

        B [U V] = [C V_+] [I F; 0 H],

    where V holds the columns to which B was applied and V_+ all columns, in order. The last
    block may be applied in part, and a block may be narrower than the one before where
    directions depend on earlier ones up to rounding; the relation holds as it stands.

    Memory: m + s vectors for [C V_+], k for U, 3 s for work.
    """

    def __init__(self, solver: BlockSolver, operator: PETSc.Mat, width: int) -> None:
        self._solver, self._operator, self._width = solver, operator, width
        self._comm: MPI.Comm = operator.comm.tompi4py()
        # For its preconditioner alone.
        self._ksp = PETSc.KSP().create(operator.comm)
        self._ksp.setOperators(operator)
        self._ksp.setType(PETSc.KSP.Type.PREONLY)
        rows, scalar = operator.getLocalSize()[0], np.dtype(PETSc.ScalarType)

        def block(columns: int) -> Array:
            return np.zeros((rows, columns), dtype=scalar, order="F")

        self._block = block(solver.restart + width)
        self._u = block(solver.recycle)
        self._image, self._candidate, self._residual = (block(width) for _ in range(3))
        # Vecs without memory of their own, to be placed over columns.
        self._source_column, self._target_column = (
            PETSc.Vec().createWithArray(self._block[:, 0], comm=operator.comm) for _ in range(2)
        )
        # Column j: the coefficients of B v_j in [C V_+].
        self._coefficients = np.zeros(
            (solver.restart + width, solver.restart), dtype=scalar, order="F"
        )
        self.counts, self.iterations = Counts(), 0
        self._held = 0
        # C'U and U'U.
        self._cu = self._uu = np.zeros((0, 0), dtype=scalar)

    def serves(self, solver: BlockSolver, operator: PETSc.Mat, width: int) -> bool:
        """Whether this was made for that solver, that Mat object and that many columns."""
        same = self._operator.handle == operator.handle
        return same and (self._solver, self._width) == (solver, width)

    def prepare(self) -> Reason:
        """Set the preconditioner up for the operator's present entries."""
        self.counts, self.iterations = Counts(), 0
        self._held = 0
        # One Mat a width, since a product's result holds what MPI needs to form it again with
        # the operator's present pattern.
        self._products: dict[int, PETSc.Mat] = {}
        reason = set_up_preconditioner(self._ksp, self._solver.preconditioner, symmetric=False)
        self._pc = self._ksp.getPC()
        self._identity = self._pc.getType() == PETSc.PC.Type.NONE
        return reason

    @property
    def space(self) -> Array | None:
        """A copy of what the last run would recycle."""
        return self._u[:, : self._held].copy(order="F") if self._held else None

    def run(self, b: Array, x: Array, norms: Array, space: Array | None) -> Reason:
        """Solve from x = 0.

        Args:
            b: (local rows, s).
            x: (local rows, s), zero: is overwritten with the solutions.
            norms: those of the columns of b.
            space: (local rows, any number) of directions to recycle.

        Returns:
            Why it ended; `norms` then holds those of the columns of b - A x.
        """
        self._b, self._x, self.norms = b, x, norms.copy()
        self._target = self._solver.tolerance * norms
        if space is not None and self._solver.recycle > 0:
            wanted = space[:, : self._solver.recycle]
            self._rebuild(np.asfortranarray(wanted, dtype=self._block.dtype))
            self.counts.recycled = self._held
        reason = self._run_cycles()
        del self._b, self._x
        return reason

    def residual_of(self, b: Array, x: Array, exponent: int) -> float:
        """Return ||b - 2^exponent A x||, b and x the local rows of a vector. Collective."""
        scaled = x[:, None].copy(order="F")
        shift(scaled[:, 0], exponent)
        return float(_norms(b[:, None] - self._multiply(scaled), self._comm)[0])

    def _run_cycles(self) -> Reason:
        self._active = np.flatnonzero(self.norms > 0)
        self._residual[:, : self._active.size] = self._b[:, self._active]
        measure = self._begin_cycle()
        first = np.ones(self._width)
        first[self._active] = measure
        history = [math.sqrt(self._active.size)]
        doubts = 0
        while np.isfinite(measure).all():
            if self.iterations >= self._solver.max_iterations:
                return Reason.ITERATION_LIMIT
            started = self._held
            implicit, norms = self._arnoldi(measure)
            if not np.isfinite(norms).all():
                break
            passed = norms <= self._target[self._active]
            self._update_space(images=not passed.all())
            self._accept(passed, norms)
            if passed.all():
                return Reason.CONVERGED
            # What has converged stays as it is; the next cycle is for the others.
            rest = np.flatnonzero(~passed)
            self._active = self._active[rest]
            for block in (self._residual, self._candidate):
                block[:, : rest.size] = block[:, rest]
            previous, implicit, norms = measure[rest], implicit[rest], norms[rest]
            measure = self._begin_cycle()
            falls = measure <= RISE * previous
            self._accept(falls, norms)
            believed = measure <= MISMATCH * implicit + EPSILON * first[self._active]
            if not falls.all() or (self._held and not believed.all()):
                # As in GCRODR: B U = C has drifted (make C again), U is no good, or nothing can
                # be gained.
                doubts += 1
                if not falls.any() and started == 0:
                    return Reason.STAGNATION
                if doubts == 1:
                    self._rebuild(self._u[:, : self._held])
                else:
                    self._held = 0
                self.norms[self._active] = self._compute_residual(self._x[:, self._active])
                measure = self._begin_cycle()
            history.append(float(np.linalg.norm(measure / first[self._active])))
            if len(history) > STAGNATION_CYCLES and not (
                history[-1] <= STAGNATION_FACTOR * history[-1 - STAGNATION_CYCLES]
            ):
                return Reason.STAGNATION
        self.norms[self._active] = np.nan
        return Reason.NON_FINITE

    def _accept(self, chosen: NDArray[np.bool_], norms: Array) -> None:
        """Take the chosen active columns of the candidate, whose residuals have these norms."""
        columns = self._active[chosen]
        self._x[:, columns] = self._candidate[:, np.flatnonzero(chosen)]
        self.norms[columns] = norms[chosen]

    def _begin_cycle(self) -> Array:
        """Put the preconditioned residuals beside C and make V_1 of what C leaves.

        Directions that no column needs to get within its tolerance are left for the next
        cycle. Of equal columns, for instance, one remains.

        Returns:
            The norms of the preconditioned residuals, which is what a cycle minimises.
        """
        held, active = self._held, self._active
        start = self._block[:, held : held + active.size]
        self._precondition(self._residual[:, : active.size], start)
        negligible = NEGLIGIBLE * self._target[active] / self.norms[active]
        coefficients = self._extend(held, active.size, negligible)
        self._filled = len(coefficients)
        self._projection, self._start = coefficients[:held], coefficients[held:]
        norms: Array = np.linalg.norm(coefficients, axis=0)
        return norms

    def _arnoldi(self, measure: Array) -> tuple[Array, Array]:
        """Take the block steps of a cycle and leave the best solutions as the candidate.

        Returns:
            Per active column: the norm of the preconditioned residual by the least-squares
            problem, and that of b - A x, computed. NaN where that turned up.
        """
        held, target = self._held, self._target[self._active]
        room = self._solver.restart - held
        self._applied = 0
        self._coefficients[:] = 0.0
        implicit: Array = np.linalg.norm(self._start, axis=0)
        # Residual norms are taken to fall as the preconditioned ones do.
        ratio = self.norms[self._active] / np.where(measure > 0, measure, 1.0)
        if self._filled == held:
            # The residuals lie in range(C), and U alone removes them: counted as a step.
            self.iterations += 1
            return implicit, self._try_solutions()
        while True:
            first = held + self._applied
            width = min(self._filled - first, room - self._applied)
            filled = self._filled
            self._apply(
                self._block[:, first : first + width], self._block[:, filled : filled + width]
            )
            self.iterations += 1
            coefficients = self._extend(filled, width, np.zeros(width))
            if not np.isfinite(coefficients).all():
                return implicit, np.full(len(target), np.nan)
            self._filled = len(coefficients)
            self._coefficients[: self._filled, self._applied : self._applied + width] = coefficients
            self._applied += width
            implicit = self._least_squares_norms()
            if (
                self._applied in (room, self._filled - held)
                or self.iterations == self._solver.max_iterations
            ):
                return implicit, self._try_solutions()
            if (implicit * ratio <= target).all():
                norms = self._try_solutions()
                if not (norms > target).any():
                    return implicit, norms
                ratio = norms / np.where(implicit > 0, implicit, 1.0)

    def _least_squares(self) -> tuple[Array, Array]:
        """Return H and S, each with as many rows as V_+ has columns: the cycle's problem."""
        h = self._coefficients[self._held : self._filled, : self._applied]
        rhs = np.zeros((len(h), self._active.size), dtype=h.dtype)
        rhs[: len(self._start)] = self._start
        return h, rhs

    def _least_squares_norms(self) -> Array:
        """Return min ||S - H y|| for every active column."""
        h, rhs = self._least_squares()
        q, _ = qr(h, mode="economic", check_finite=False)
        norms: Array = np.linalg.norm(rhs - q @ (q.conj().T @ rhs), axis=0)
        return norms

    def _try_solutions(self) -> Array:
        """Set the candidate to x plus the minimisers over range([U V]), and its residual.

        Returns:
            The norms of b - A x of the candidate.
        """
        held, applied = self._held, self._applied
        f = self._coefficients[:held, :applied]
        y = np.linalg.lstsq(*self._least_squares(), rcond=None)[0]
        candidate = self._candidate[:, : self._active.size]
        v = self._block[:, held : held + applied]
        combine(candidate, (self._u[:, :held], self._projection - f @ y), (v, y))
        candidate += self._x[:, self._active]
        return self._compute_residual(candidate)

    def _update_space(self, images: bool) -> None:
        """Replace U and C by those of the harmonic Ritz vectors wanted of [U V].

        As in GCRODR: W = [C V_+], G = [D F; 0 H] and B [U D V] = W G, D scaling U to unit
        columns; but here V_+ can have any number of columns more than V.
        """
        held, size, rows = self._held, self._held + self._applied, self._filled
        if self._solver.recycle == 0 or size == 0:
            return
        u, v = self._u[:, :held], self._block[:, held:rows]
        d = 1 / np.sqrt(np.maximum(self._uu.diagonal().real, 0.0)) if held else np.zeros(0)
        g = np.zeros((rows, size), dtype=self._block.dtype)
        g[range(held), range(held)] = d
        g[:, held:] = self._coefficients[:rows, : self._applied]
        wv = np.eye(rows, size, dtype=g.dtype)
        vv = np.eye(size, dtype=g.dtype)
        if held:
            vu = self._inner(v, u) * d
            wv[:held, :held] = self._cu * d
            wv[held:, :held] = vu
            vv[:held, :held] = self._uu * np.outer(d, d)
            vv[held:, :held] = vu[: self._applied]
            vv[:held, held:] = vu[: self._applied].conj().T
        p = harmonic_subspace(g, wv, min(self._solver.recycle, size))
        if p.shape[1] == 0:
            self._held = 0
            return
        q, r, pivots = qr(g @ p, mode="economic", pivoting=True)
        # A direction that B maps to rounding has no image to be normalised.
        rank = int(np.count_nonzero(abs(r.diagonal()) > size * EPSILON * np.linalg.norm(g)))
        t = p[:, pivots[:rank]] @ solve_triangular(r[:rank, :rank], np.eye(rank))
        q = q[:, :rank]
        self._cu, self._uu = q.conj().T @ wv @ t, t.conj().T @ vv @ t
        t[:held] *= d[:, None]
        combine(self._u[:, :rank], (u, t[:held]), (v[:, : self._applied], t[held:]))
        if images:
            combine(self._block[:, :rank], (self._block[:, :rows], q))
        self._held = rank

    def _rebuild(self, y: Array) -> None:
        """Make C R = qr(B Y) and U = Y R^-1 for the present operator."""
        start = time.perf_counter()
        size = y.shape[1]
        for first in range(0, size, self._width):
            chunk = slice(first, min(first + self._width, size))
            self._apply(y[:, chunk], self._block[:, chunk])
        transform = orthonormalise(self._block[:, :size], self._comm)
        self._held = transform.shape[1]
        u, c = self._u[:, : self._held], self._block[:, : self._held]
        combine(u, (y, transform))
        self._cu, self._uu = self._inner(c, u), self._inner(u, u)
        self.counts.rebuild += time.perf_counter() - start

    # Blocks of vectors

    def _extend(self, start: int, width: int, negligible: Array) -> Array:
        """Orthonormalise columns of the block against all before them and each other.

        Block classical Gram-Schmidt, twice: the second pass is for what a nearly dependent
        direction has kept of those before. A QR with pivoting drops directions by which no
        column is longer than the negligible part of its length.

        Returns:
            Coefficients (start + r, width) of the columns in those before and the r <= width
            new ones; NaN if the columns are not finite.
        """
        basis = self._block[:, :start]
        above, right = np.zeros((start, width), self._block.dtype), np.eye(width)
        for again in (False, True):
            vectors = self._block[:, start : start + len(right)]
            products = self._inner(basis, vectors)
            combine(vectors, (vectors, np.eye(len(right))), (basis, -products))
            above += products @ right
            if again and np.all(abs(products) < HARMLESS):
                break
            q, r = _tall_qr(vectors, self._comm)
            if again:
                unit = np.full(len(right), DOUBTFUL)
            else:
                length = np.hypot(np.linalg.norm(products, axis=0), np.linalg.norm(r, axis=0))
                if not np.isfinite(length).all():
                    return np.full((start + width, width), np.nan)
                unit = np.maximum(negligible, ROUNDING) * length
                unit[unit == 0] = 1.0
            turn, triangle, _ = qr(r / unit, mode="economic", pivoting=True, check_finite=False)
            rank = int(np.count_nonzero(abs(triangle.diagonal()) > 1))
            right = turn[:, :rank].conj().T @ r @ right
            combine(self._block[:, start : start + rank], (q, turn[:, :rank]))
        return np.concatenate([above, right])

    def _inner(self, left: Array, right: Array) -> Array:
        """Return left' right, summed over the ranks."""
        return sum_over_ranks(np.asfortranarray(inner(left, right)), self._comm)

    def _as_mat(self, block: Array) -> PETSc.Mat:
        """Wrap a run of columns, without a copy."""
        return _to_dense(block, self._operator, (PETSc.DECIDE, block.shape[1]))

    def _multiply(self, source: Array) -> Array:
        """Return A source, good until the next product."""
        width = source.shape[1]
        image = self._image[:, :width]
        if width not in self._products:
            self._products[width] = self._as_mat(image)
        self._operator.matMult(self._as_mat(source), result=self._products[width])
        self.counts.operator += width
        return image

    def _precondition(self, source: Array, target: Array) -> None:
        """Set target to M^-1 source.

        Column by column: PETSc's PCMatApply is no faster with any of the preconditioners
        here, and that of gamg crashes on several ranks (PETSc 3.25).
        """
        if self._identity:
            target[...] = source
        else:
            for i in range(source.shape[1]):
                self._source_column.placeArray(source[:, i])
                self._target_column.placeArray(target[:, i])
                self._pc.apply(self._source_column, self._target_column)
                self._source_column.resetArray()
                self._target_column.resetArray()
        self.counts.preconditioner += source.shape[1]

    def _apply(self, source: Array, target: Array) -> None:
        """Set target to B source."""
        self._precondition(self._multiply(source), target)

    def _compute_residual(self, x: Array) -> Array:
        """Set the residual of the active columns to b - A x and return the norms."""
        image = self._multiply(np.asfortranarray(x))
        residual = self._residual[:, : x.shape[1]]
        np.subtract(self._b[:, self._active], image, out=residual)
        return _norms(residual, self._comm)


def _norms(block: Array, comm: MPI.Comm) -> NDArray[np.float64]:
    """Return the Euclidean norms of the columns of a tall block."""
    return np.sqrt(sum_over_ranks(np.linalg.norm(block, axis=0) ** 2, comm))


def _exponents(block: Array, comm: MPI.Comm) -> NDArray[np.int64]:
    """Return, of each column, the exponent to base 2 of its size where that is far from 1."""
    sizes = np.abs(block).max(axis=0, initial=0.0)
    if comm.size > 1:
        comm.Allreduce(MPI.IN_PLACE, sizes, MPI.MAX)
    far = [0.0 < size < math.inf and not is_safe(size) for size in sizes.tolist()]
    return np.where(far, np.frexp(sizes)[1], 0).astype(np.int64)


def _tall_qr(block: Array, comm: MPI.Comm) -> tuple[Array, Array]:
    """Return Q, R of a tall block: a QR on each rank, then one of all their R (TSQR).

    J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J. Sci. Comput. 34 (2012) A206-A239.
    As accurate as Householder's, with one message.
    """
    geqrf, orgqr = get_lapack_funcs(("geqrf", "orgqr"), (block,))
    height = min(block.shape)
    if height:
        # LAPACK itself, since scipy.linalg.qr takes about three times as long.
        factor, scales, *_ = geqrf(block)
        r = np.triu(factor[:height])
        q = orgqr(factor[:, :height], scales, overwrite_a=1)[0]
    else:
        q, r = block[:, :0], block[:0]
    if comm.size == 1:
        return q, r
    parts = comm.allgather(r)
    first = sum(len(part) for part in parts[: comm.rank])
    small, r = qr(np.concatenate(parts), mode="economic", check_finite=False)
    return np.asfortranarray(q @ small[first : first + height]), r


def _to_dense(block: Array, operator: PETSc.Mat, columns: tuple[int, int]) -> PETSc.Mat:
    """Wrap local rows in Fortran order as a dense Mat with the operator's rows, no copy."""
    return PETSc.Mat().createDense(
        (operator.getSizes()[0], columns), array=block, comm=operator.comm
    )
