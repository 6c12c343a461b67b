# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The solvers of the SKR paper's tables: preconditioners in blocks, and GMRES that is watched."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np

from kryloset.bench.harness import Turn
from kryloset.krylov import SequenceSolver, SolveResult, SolverState
from kryloset.krylov.names import Preconditioner
from kryloset.krylov.petsc_options import PetscOptions
from kryloset.krylov.workspace import Workspace
from kryloset.problems.base import Array
from kryloset.run.comparison import Method

LIMIT = 10_000
"""Iterations a system after which a method gives up: the paper's `max_it`."""

BLOCKS = {"bjacobi": ("bjacobi", "ilu"), "sor": ("bjacobi", "sor"), "asm": ("asm", "ilu")}
"""What a preconditioner is on several processes: PETSc's on one process, and that in its blocks.

PETSc's SOR on several processes is block Jacobi with symmetric SOR inside.
"""


def divide(preconditioner: str, processes: int) -> tuple[Preconditioner, PetscOptions]:
    """Return the preconditioner that acts as this one does on several processes, and its options.

    It acts within as many blocks of rows; those that know no processes stay as they are.
    """
    if processes == 1 or preconditioner not in BLOCKS:
        return cast(Preconditioner, preconditioner), {}
    kind, inside = BLOCKS[preconditioner]
    options: PetscOptions = {f"pc_{kind}_blocks": processes, "sub_pc_type": inside}
    return cast(Preconditioner, kind), options


@dataclass(frozen=True)
class Watched(SequenceSolver):
    """A solver whose residuals are kept.

    Attributes:
        histories: By system the norm of the residual before the first iteration and after each.
    """

    histories: list[Array] = field(default_factory=list, compare=False)

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve a system; the KSP is new at the start and after a failure."""
        workspace = cast(Workspace | None, state.workspace) or Workspace(self, operator)
        # Twice the limit, since a solve that has to go on adds to it.
        workspace.ksp.setConvergenceHistory(2 * self.max_iterations)
        found = super().solve(operator, rhs, replace(state, workspace=workspace))
        self.histories.append(np.array(workspace.ksp.getConvergenceHistory()))
        return found


def choose_methods(
    preconditioner: str,
    tolerance: float,
    *,
    tightest: float,
    processes: int = 1,
    limit: int = LIMIT,
) -> list[Method]:
    """Return what is compared, GMRES(40) first.

    Args:
        preconditioner: A name that `SequenceSolver` knows.
        tolerance: On the true relative residual.
        tightest: That for GMRES, of whose run a looser one is a part, and for LU.
        processes: In whose blocks of rows the preconditioner acts.
        limit: Iterations a system after which a method gives up.
    """
    kind, options = divide(preconditioner, processes)
    given: dict[str, Any] = {"restart": 40, "recycle": 20, "max_iterations": limit}
    skr = SequenceSolver("gcrodr", kind, tolerance, petsc_options=options, **given)
    gmres = Watched(**vars(skr) | {"method": "gmres", "tolerance": tightest})
    direct = replace(skr, method="direct", tolerance=tightest, petsc_options={})
    chosen: list[tuple[str, str, SequenceSolver]] = [
        ("gmres", "GMRES(40)", gmres),
        ("skr", "GCRO-DR(40,20), sorted", skr),
        ("gmresdr", "GMRES-DR(40,20), nothing recycled", replace(skr, method="gmresdr")),
        ("direct", "LU", direct),
    ]
    return [Method(name, label, solver, carries=name == "skr") for name, label, solver in chosen]


def cut(turn: Turn, history: Array, tolerance: float) -> Turn:
    """Return the part of a run of GMRES after which a looser tolerance was reached.

    Its time is that part of the whole, since all iterations cost about the same; its
    residual is GMRES's own.
    """
    relative = history / history[0]
    (reached,) = np.nonzero(relative <= tolerance)
    if len(reached) == 0 or reached[0] >= turn.iterations:
        return turn
    iterations = int(reached[0])
    share = iterations / turn.iterations
    return replace(
        turn,
        iterations=iterations,
        operator_applications=round(share * turn.operator_applications),
        preconditioner_applications=round(share * turn.preconditioner_applications),
        seconds_iterate=share * turn.seconds_iterate,
        true_residual=float(relative[iterations]),
        converged=True,
    )
