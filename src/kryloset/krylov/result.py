# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a solve reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Self

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.names import Method
from kryloset.krylov.reason import Reason

SUMMED = (
    "iterations",
    "operator_applications",
    "preconditioner_applications",
    "seconds_setup",
    "seconds_rebuild",
    "seconds_iterate",
    "seconds_processor",
)
"""What of the lanes is summed over an ensemble."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LaneResult:
    """How the solve of one system went: a lane of an ensemble, or one alone.

    Attributes:
        iterations: Krylov steps; for method direct 1, and one more for each step of refinement.
        operator_applications: products with A: those of the method, those that rebuild the
            recycled space, and those that check the result.
        preconditioner_applications: products with M^-1 (the identity for preconditioner none),
            also those that rebuild the recycled space.
        true_residual: ||b - A x|| / ||b||, computed from A, x and b after the solve; 0 for
            b = 0, whose solution is 0.
        seconds_setup: making the preconditioner or factor, and the KSP if a new one was needed;
            this and the next three of a lane are its share of the ensemble's.
        seconds_rebuild: making C = A M^-1 U from the recycled space.
        seconds_iterate: the rest of the solve.
        seconds_processor: seconds of this rank's processor, for all three; of an ensemble, without
            the analysis of its pattern.
        reason: why it ended.
        method: the method that ran.
        recycled: whether directions from an earlier system took part.
    """

    iterations: int
    operator_applications: int
    preconditioner_applications: int
    true_residual: float
    seconds_setup: float
    seconds_rebuild: float
    seconds_iterate: float
    seconds_processor: float
    reason: Reason
    method: Method
    recycled: bool

    @property
    def converged(self) -> bool:
        """Whether the true residual is within the tolerance."""
        return self.reason is Reason.CONVERGED


@dataclass(frozen=True, eq=False, kw_only=True)
class SolveResult(LaneResult):
    """Solved (or failed) systems: one, or an ensemble.

    Of an ensemble, counts and seconds are sums over its lanes, the residual is the largest, and
    the reason is that of the first lane that failed, if there is one.

    Attributes:
        solution: x, a new vector.
        lanes: the results of the active lanes of an ensemble; empty for one system.
    """

    solution: PETSc.Vec
    lanes: tuple[LaneResult, ...] = ()

    @classmethod
    def of_lanes(cls, solution: PETSc.Vec, lanes: Sequence[LaneResult]) -> Self:
        """Return the result of an ensemble from those of its active lanes."""
        failed = [lane for lane in lanes if not lane.converged]
        return cls(
            **{name: sum(map(attrgetter(name), lanes)) for name in SUMMED},
            solution=solution,
            # Unlike `max`, this keeps a NaN.
            true_residual=float(np.max([lane.true_residual for lane in lanes])),
            reason=failed[0].reason if failed else Reason.CONVERGED,
            method=lanes[0].method,
            recycled=any(lane.recycled for lane in lanes),
            lanes=tuple(lanes),
        )

    @cached_property
    def failures(self) -> int:
        """Number of systems that did not reach the tolerance."""
        return sum(not one.converged for one in self.of_each)

    @property
    def of_each(self) -> tuple[LaneResult, ...]:
        """The results of the systems, one by one."""
        return self.lanes or (self,)
