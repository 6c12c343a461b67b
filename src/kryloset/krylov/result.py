# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a solve reports."""

from dataclasses import dataclass

from petsc4py import PETSc

from kryloset.krylov.names import Method
from kryloset.krylov.reason import Reason


@dataclass(frozen=True, eq=False, kw_only=True)
class SolveResult:
    """One solved (or failed) system.

    Attributes:
        solution: x, a new vector.
        iterations: Krylov steps; for method direct 1, and one more for each step of refinement.
        operator_applications: products with A: those of the method, those that rebuild the
            recycled space, and those that check the result.
        preconditioner_applications: products with M^-1 (the identity for preconditioner none),
            also those that rebuild the recycled space.
        true_residual: ||b - A x|| / ||b||, computed from A, x and b after the solve; 0 for
            b = 0, whose solution is 0.
        seconds_setup: making the preconditioner or factor, and the KSP if a new one was needed.
        seconds_rebuild: making C = A M^-1 U from the recycled space.
        seconds_iterate: the rest of the solve.
        seconds_processor: seconds of this rank's processor, for all three.
        reason: why it ended.
        method: the method that ran.
        recycled: whether directions from an earlier system took part.
    """

    solution: PETSc.Vec
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
