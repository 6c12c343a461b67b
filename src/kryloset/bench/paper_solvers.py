# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The solvers of the SKR paper's tables: preconditioners in blocks, and GMRES that is watched."""

from dataclasses import dataclass, field, replace
from typing import Literal, cast

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np

from kryloset.bench.harness import Turn
from kryloset.krylov import SequenceSolver, SolveResult, SolverState
from kryloset.krylov.names import Preconditioner
from kryloset.krylov.workspace import Workspace
from kryloset.problems.base import Array
from kryloset.run.comparison import Method

LIMIT = 10_000
"""Iterations a system after which a method gives up: the paper's `max_it`."""


@dataclass(frozen=True)
class Blocks:
    """A preconditioner that acts within blocks of rows, as on so many processes.

    Attributes:
        kind: PETSc's preconditioner on one process.
        inside: And within a block.
        count: Blocks.
    """

    kind: Literal["bjacobi", "asm"]
    inside: Literal["ilu", "sor"]
    count: int


@dataclass(frozen=True, eq=False)
class BlockSolver:
    """A solver whose preconditioner acts within blocks. A `Solver`.

    The number of blocks is one of PETSc's options, which `SequenceSolver` does not read.

    Attributes:
        solver: The solver.
        blocks: Of its preconditioner, or None.
        histories: For GMRES by system the norm of the residual before the first iteration and
            after each.
    """

    solver: SequenceSolver
    blocks: Blocks | None = None
    histories: list[Array] = field(default_factory=list)

    @property
    def tolerance(self) -> float:
        """Of the solver."""
        return self.solver.tolerance

    def init(self) -> SolverState:
        """Return the state before the first system."""
        return self.solver.init()

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve a system; the KSP, new at the start and after a failure, gets its blocks."""
        if state.workspace is None:
            state = replace(state, workspace=self.make_workspace(operator))
        ksp = cast(Workspace, state.workspace).ksp
        watched = self.solver.method == "gmres"
        if watched:
            # Twice the limit, since a solve that has to go on adds to it.
            ksp.setConvergenceHistory(2 * self.solver.max_iterations)
        result, after = self.solver.solve(operator, rhs, state)
        if watched:
            self.histories.append(np.array(ksp.getConvergenceHistory()))
        return result, after

    def make_workspace(self, operator: PETSc.Mat) -> Workspace:
        """Return a KSP for a matrix, its preconditioner in blocks."""
        workspace, blocks = Workspace(self.solver, operator), self.blocks
        if blocks is not None and self.solver.method != "direct":
            prefix = f"paper_{blocks.kind}_{blocks.inside}_{blocks.count}_"
            options = PETSc.Options(prefix)
            options[f"pc_{blocks.kind}_blocks"] = blocks.count
            options["sub_pc_type"] = blocks.inside
            pc = workspace.ksp.getPC()
            pc.setType(blocks.kind)
            pc.setOptionsPrefix(prefix)
            pc.setFromOptions()
        return workspace


def divide(preconditioner: str, processes: int) -> Blocks | None:
    """Return the blocks of a preconditioner on several processes, or None where it has none.

    PETSc's SOR on several processes is block Jacobi with symmetric SOR inside.
    """
    if processes == 1:
        return None
    return {
        "bjacobi": Blocks("bjacobi", "ilu", processes),
        "sor": Blocks("bjacobi", "sor", processes),
        "asm": Blocks("asm", "ilu", processes),
    }.get(preconditioner)


def choose_methods(
    preconditioner: str,
    tolerance: float,
    *,
    tightest: float,
    blocks: Blocks | None = None,
    limit: int = LIMIT,
) -> list[Method]:
    """Return what is compared, GMRES(40) first; HPDDM's GCRO-DR where PETSc has it.

    Args:
        preconditioner: A name that `SequenceSolver` knows.
        tolerance: On the true relative residual.
        tightest: That for GMRES, of whose run a looser one is a part, and for LU.
        blocks: Of the preconditioner.
        limit: Iterations a system after which a method gives up.
    """
    kind = cast(Preconditioner, blocks.kind if blocks else preconditioner)
    gmres = SequenceSolver("gmres", kind, tightest, restart=40, recycle=20, max_iterations=limit)
    skr = replace(gmres, method="gcrodr", tolerance=tolerance)
    gmresdr, direct = replace(skr, method="gmresdr"), replace(gmres, method="direct")
    chosen = [
        ("gmres", "GMRES(40)", gmres),
        ("skr", "GCRO-DR(40,20), sorted", skr),
        ("gmresdr", "GMRES-DR(40,20), nothing recycled", gmresdr),
        ("direct", "LU", direct),
    ]
    if PETSc.Sys.hasExternalPackage("hpddm"):
        hpddm = replace(skr, method="hpddm")
        chosen.append(("hpddm", "HPDDM GCRO-DR(40,20), sorted", hpddm))
    return [
        Method(name, label, BlockSolver(solver, blocks), carries=name in ("skr", "hpddm"))
        for name, label, solver in chosen
    ]


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
