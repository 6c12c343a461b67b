# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving an ensemble: all lanes by one method and preconditioner, each to its own tolerance."""

import math
import os
import time
from dataclasses import replace
from itertools import islice

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.lanes import Lanes
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.ensemble.methods import Progress, iterate_cg, iterate_gmres
from kryloset.krylov.ensemble.preconditioner import EnsemblePreconditioner, analyse
from kryloset.krylov.ensemble.refinement import refine
from kryloset.krylov.ensemble.vectors import Numbers, Vectors, as_lanes, combine, dot, norms_of
from kryloset.krylov.fast_replace import fast_replace
from kryloset.krylov.names import FACTORS, LANES
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import LaneResult, SolveResult
from kryloset.krylov.revision import Revision, get_revision
from kryloset.krylov.settings import Settings

MEMORY_SHARE = 0.25
"""Largest share of a processor's part of the memory that a preconditioner and the vectors of a
method may take. Beyond, it is made for fewer lanes at a time, and GMRES restarts sooner."""

VECTORS = 5
"""Vectors of all lanes that every method has. GMRES has two more for each of its directions."""

INNER = 0.999
"""Fraction of the tolerance given to the method, to leave room for rounding."""

PROGRESS = 0.5
"""A lane goes on from a true residual above the tolerance only as long as each run leaves at most
this fraction of the residual."""

FEW = 6
"""Iterations up to which a factor in single precision is good enough."""

USUAL_EXPONENT = 20
"""Right-hand sides whose norms are within this power of two, and its inverse, stay as they are."""

LARGEST_EXPONENT = 1000
"""Others are divided by powers of two up to this one, and its inverse."""

SAFE_EXPONENT = 300
"""Up to this one, no number of a solution leaves the range of double precision by it alone."""


class EnsembleSolver:
    """Solves the systems of one ensemble's Mat, and keeps the preconditioner of unchanged entries.

    Attributes:
        double: whether factors are in double precision.
    """

    def __init__(self, settings: Settings, operator: PETSc.Mat, *, double: bool) -> None:
        """Take the Mat of an ensemble; its pattern is analysed in the first solve.

        Args:
            settings: with more than one lane.
            operator: held, so that no other Mat can get its address.
            double: whether factors are in double precision from the beginning.
        """
        self.double = double
        self._settings, self._operator = settings, operator
        ensemble = ensemble_of(operator)
        assert ensemble is not None
        self._ensemble = ensemble
        self._prepared: _Prepared | None = None

    def serves(self, settings: Settings, operator: PETSc.Mat) -> bool:
        """Whether this solver can be used for a Mat and settings; the limit of them may differ."""
        if self._operator.handle != operator.handle:
            return False
        if self._settings is not settings and self._settings != settings:
            limit = self._settings.max_iterations
            if self._settings != replace(settings, max_iterations=limit):
                return False
            self._settings = settings
        return True

    def solve(self, rhs: PETSc.Vec, *, first: bool) -> SolveResult:
        """Solve for a right-hand side. A lane that fails does no harm to the others.

        If a factor in single precision takes many iterations on the first ensemble, or misses a
        lane of any, one in double precision is tried. It is used from then on if it takes half of
        the iterations, or solves the lane. So every run decides alike.

        Args:
            rhs: interleaved as the unknowns.
            first: whether this is the first ensemble of a sequence.
        """
        began = time.perf_counter()
        if self._prepared is None:
            self._prepared = _Prepared(self._settings, self._operator, double=self.double)
        # The analysis of the pattern serves all ensembles. The processor's seconds are without it,
        # so that those of the first ensemble are like those of the next.
        clock = _Clock(time.perf_counter() - began)
        x = rhs.duplicate()
        lanes = self._prepared.solve(rhs, x, self._settings.max_iterations, clock)
        if not self.double and self._settings.preconditioner in FACTORS:
            slow = first and int(lanes.iterations.max()) > FEW
            if slow or self._can_be_solved(lanes):
                self._try_double(rhs, x, lanes, clock, slow)
        return self._report(x, lanes, clock)

    def _can_be_solved(self, lanes: Lanes) -> bool:
        """Return whether a lane was missed although its numbers are finite."""
        missed = lanes.missed & np.isfinite(lanes.residuals)
        if not missed.any():
            return False
        entries = self._ensemble.entries
        found = (entries[:, lane % entries.shape[1]] for lane in np.flatnonzero(missed))
        return any(np.isfinite(one).all() for one in found)

    def _try_double(
        self, rhs: PETSc.Vec, x: PETSc.Vec, lanes: Lanes, clock: "_Clock", slow: bool
    ) -> None:
        """Solve by factors in double precision, and take over what they solve better."""
        prepared = _Prepared(self._settings, self._operator, double=True)
        found = rhs.duplicate()
        others = prepared.solve(rhs, found, self._settings.max_iterations, clock)
        better = lanes.missed & ~others.missed
        if slow and 2 * others.iterations.sum() <= lanes.iterations.sum():
            better |= ~others.missed
        if better.any():
            self._prepared, self.double = prepared, True
            width = self._ensemble.lanes
            x.array_w.reshape(-1, width)[:, better] = as_lanes(found, width)[:, better]
            lanes.take(others, better)

    def _report(self, x: PETSc.Vec, lanes: Lanes, clock: "_Clock") -> SolveResult:
        """Return the result of the active lanes, to each its share of the seconds."""
        active = self._ensemble.active
        setup, iterate, processor = (seconds / active for seconds in clock.read())
        shared = LaneResult(
            iterations=0,
            operator_applications=0,
            preconditioner_applications=0,
            true_residual=0.0,
            seconds_setup=setup,
            seconds_rebuild=0.0,
            seconds_iterate=iterate,
            seconds_processor=processor,
            reason=Reason.CONVERGED,
            method=self._settings.method,
            recycled=False,
        )
        numbers = (lanes.iterations, lanes.products, lanes.applications, lanes.residuals)
        found = zip(*(array.tolist() for array in (*numbers, lanes.reasons)), strict=True)
        results = [
            fast_replace(
                shared,
                iterations=iterations,
                operator_applications=products,
                preconditioner_applications=applications,
                true_residual=residual,
                reason=Reason(reason),
            )
            for iterations, products, applications, residual, reason in islice(found, active)
        ]
        return SolveResult.of_lanes(x, results)


class _Clock:
    """Seconds since it was made, and those of set-ups before."""

    def __init__(self, setup: float) -> None:
        self._began, self._processor = time.perf_counter() - setup, time.process_time()
        self.setup = setup

    def read(self) -> tuple[float, float, float]:
        """Return the seconds of set-ups, of all else, and of the processor."""
        whole = time.perf_counter() - self._began
        return self.setup, whole - self.setup, time.process_time() - self._processor


class _Prepared:
    """The preconditioner of an ensemble's pattern in one precision, for as many lanes as fit."""

    def __init__(self, settings: Settings, operator: PETSc.Mat, *, double: bool) -> None:
        self._settings, self._operator = settings, operator
        ensemble = ensemble_of(operator)
        assert ensemble is not None
        self._whole = self._part = ensemble
        self._preconditioner: EnsemblePreconditioner | None = None
        # The revision and the first lane that the preconditioner was set up for.
        self._revision: Revision | None = None
        self._first = 0
        self._usable = np.zeros(0, dtype=bool)
        self._limit, self._restart = settings.max_iterations, settings.restart
        for lanes in reversed(LANES[1:]):
            if lanes > min(settings.lanes, ensemble.lanes):
                continue
            part = ensemble if lanes == ensemble.lanes else ensemble.narrower(lanes)
            preconditioner = analyse(settings.preconditioner, part, double=double)
            vector = ensemble.pattern.rows * lanes * np.dtype(np.float64).itemsize
            # In vectors beside those that every method has.
            room = (memory_limit() - preconditioner.bytes) // vector - VECTORS
            if room >= 2 * (FEW if settings.method == "gmres" else 0):
                self._part, self._preconditioner = part, preconditioner
                self._restart = min(settings.restart, room // 2)
                break
        shape = (ensemble.pattern.rows, self._part.lanes)
        self._work, self._vectors = Vectors(*shape), Vectors(*shape)

    def solve(self, rhs: PETSc.Vec, x: PETSc.Vec, limit: int, clock: _Clock) -> Lanes:
        """Solve all lanes, as many at a time as fit, in a limit of iterations; write x."""
        self._limit = limit
        whole, part = self._whole, self._part
        b, solution = as_lanes(rhs, whole.lanes), x.array_w.reshape(-1, whole.lanes)
        guess = whole.guess
        if self._preconditioner is None:
            solution[:] = 0.0
            return Lanes.unsolved(whole.lanes, Reason.OUT_OF_MEMORY)
        if part is whole:
            self._set_up(0, clock)
            return self._solve(b, guess, solution)
        lanes = Lanes.unsolved(whole.lanes, Reason.CONVERGED)
        solution[:] = 0.0
        for first in range(0, whole.active, part.lanes):
            self._set_up(first, clock)
            columns = slice(first, first + part.lanes)
            mine = np.empty((len(b), part.lanes))
            own = None if guess is None else np.ascontiguousarray(guess[:, columns])
            lanes.put(first, self._solve(np.ascontiguousarray(b[:, columns]), own, mine))
            solution[:, columns] = mine
        return lanes

    def _set_up(self, first: int, clock: _Clock) -> None:
        """Set the preconditioner up for the lanes from a first one on, unless that is done."""
        revision = get_revision(self._operator)
        same_lanes = self._first == first or self._whole.constant
        if revision == self._revision and same_lanes:
            return
        began = time.perf_counter()
        if self._part is not self._whole:
            self._part.take(self._whole, first)
        assert self._preconditioner is not None
        with np.errstate(all="ignore"):
            usable = self._preconditioner.set_up(self._part.entries)
        self._usable = np.broadcast_to(usable, (self._part.lanes,))
        self._revision, self._first = revision, first
        clock.setup += time.perf_counter() - began

    def _solve(self, b: Numbers, guess: Numbers | None, x: Numbers) -> Lanes:
        """Solve the lanes that the preconditioner is set up for."""
        with np.errstate(all="ignore"):
            norms = norms_of(b)
            finite = np.isfinite(norms)
            # Norms near 1, by powers of two: no number loses a digit.
            exponents = np.where(finite & (norms > 0.0), np.frexp(norms)[1], 0)
            exponents[np.abs(exponents) <= USUAL_EXPONENT] = 0
            exponents = np.clip(exponents, -LARGEST_EXPONENT, LARGEST_EXPONENT)
            live = finite & self._usable & (norms > 0.0)
            lanes = self._solve_scaled(b, guess, x, norms, exponents, live)
        failed = ~self._usable & (norms > 0.0)
        lanes.reasons[failed], lanes.residuals[failed] = Reason.PRECONDITIONER_FAILED, 1.0
        lanes.reasons[~finite] = Reason.NON_FINITE
        lanes.residuals[~finite] = math.nan
        return lanes

    def _solve_scaled(
        self,
        b: Numbers,
        guess: Numbers | None,
        x: Numbers,
        norms: Numbers,
        exponents: NDArray[np.int64],
        live: NDArray[np.bool_],
    ) -> Lanes:
        """Solve A x = b for the lanes that are live, in terms of b divided by powers of two."""
        part, tolerance, idle = self._part, self._settings.tolerance, ~live
        r, scaled, none = self._work[1], b, np.zeros(self._part.lanes)
        if exponents.any() or norms[idle].any():
            scaled = self._work[0]
            norms = np.sqrt(combine(np.ldexp(1.0, -exponents), b, none, b, scaled))
            scaled[:, idle] = 0.0
        lanes = Lanes.unsolved(part.lanes, Reason.CONVERGED)
        lanes.residuals = live.astype(np.float64)
        begun = guess is not None or self._settings.preconditioner not in FACTORS
        if guess is not None:
            combine(np.ldexp(1.0, -exponents), guess, none, guess, x)
            lanes.residuals = self._begin(scaled, x, r, norms, live)
            lanes.products += live
        elif begun:
            r[:], x[:] = scaled, 0.0
        # A guess may be good enough.
        targets, again = INNER * tolerance * norms, live & (lanes.residuals > tolerance)
        while again.any():
            progress = Progress.of(again, self._limit, lanes.iterations)
            before = lanes.residuals
            found, cycles = self._iterate(scaled, x, r, norms, targets, progress, begun)
            begun = True
            lanes.residuals = np.where(again, found, before)
            lanes.reasons = np.where(again, progress.reasons, lanes.reasons)
            lanes.reasons[again & ~np.isfinite(found)] = Reason.NON_FINITE
            lanes.reasons[again & (found <= tolerance)] = Reason.CONVERGED
            taken = progress.iterations - lanes.iterations
            lanes.iterations += taken
            lanes.applications += taken
            lanes.products += taken + np.where(again, cycles, 0)
            # The method's own estimate was too optimistic: go on as long as that helps.
            short = again & ~lanes.missed & (found > tolerance)
            lanes.reasons[short] = Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE
            spent = lanes.iterations >= self._limit
            lanes.reasons[short & spent] = Reason.ITERATION_LIMIT
            again = short & ~spent & (found <= PROGRESS * before)
            targets = np.where(again, targets * PROGRESS * tolerance / found, 0.0)
        bad = live & ~(lanes.residuals <= 1.0)
        factors = np.ldexp(1.0, exponents)
        squares = combine(factors, x, none, x, x) if exponents.any() else dot(x, x)
        for lane in np.flatnonzero(live & ~np.isfinite(squares)):
            # A row of zeros can let x grow without a trace in the residual.
            if not np.isfinite(x[:, lane]).all():
                lanes.reasons[lane], bad[lane] = Reason.NON_FINITE, True
        if bad.any() or idle.any():
            lanes.residuals[bad & np.isfinite(lanes.residuals)] = 1.0
            x[:, bad | idle] = 0.0
        if np.abs(exponents).max() > SAFE_EXPONENT:
            # The restored x may have lost digits, or be infinite.
            lanes.residuals = np.where(live, part.lane_residuals(b, x), lanes.residuals)
            lost = live & ~lanes.missed & ~(lanes.residuals <= tolerance)
            lanes.reasons[lost] = Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE
        return lanes

    def _begin(
        self, b: Numbers, x: Numbers, r: Numbers, norms: Numbers, live: NDArray[np.bool_]
    ) -> Numbers:
        """Keep a guess x where it is better than 0; return relative residuals, 0 if idle."""
        x[:, ~live] = 0.0
        found = np.sqrt(self._part.subtract(x, b, r))
        bad = live & ~(found < norms)
        if bad.any():
            x[:, bad], r[:, bad], found[bad] = 0.0, b[:, bad], norms[bad]
        return np.where(live, found / norms, 0.0)

    def _iterate(
        self,
        b: Numbers,
        x: Numbers,
        r: Numbers,
        norms: Numbers,
        targets: Numbers,
        progress: Progress,
        begun: bool,
    ) -> tuple[Numbers, NDArray[np.int64]]:
        """Run the method, after refinement by a factor, from x and r if they are given.

        Returns:
            ||b - A x|| / ||b||, and how many products each lane took beside iterations.
        """
        assert self._preconditioner is not None
        part, work, settings = self._part, self._vectors, self._settings
        cycles = np.zeros(part.lanes, dtype=np.int64)
        if settings.preconditioner in FACTORS:
            goals = settings.tolerance * norms
            given = (b, x, r, norms, goals, progress, work)
            sizes = refine(part, self._preconditioner, *given, begun=begun)
            if not progress.live.any():
                return sizes / norms, cycles
        refined = progress.iterations.copy()
        if settings.method == "cg":
            iterate_cg(part, self._preconditioner, x, r, targets, progress, work)
        else:
            restart = self._restart
            iterate_gmres(part, self._preconditioner, x, r, targets, progress, work, restart)
            # A cycle ends with a residual.
            cycles = -(-(progress.iterations - refined) // restart)
        return np.sqrt(part.subtract(x, b, r)) / norms, cycles + 1


def memory_limit() -> int:
    """Return how many bytes an ensemble may take: `MEMORY_SHARE` of a processor's part."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(MEMORY_SHARE * whole / (os.cpu_count() or 1))
