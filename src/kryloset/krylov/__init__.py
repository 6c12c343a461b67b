# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Krylov solvers for sequences of PETSc systems that carry what they learnt onwards.

Works on any sequence of matrices and right-hand sides; no PDE is in sight. To import it sets two
options of PETSc's (`keep_bits`), so that GMRES gives the same bits in every run.
"""

from kryloset.krylov.automatic.selection import Automatic, AutomaticState, Recording
from kryloset.krylov.ladder import Attempt, SolveError, solve_or_escalate
from kryloset.krylov.methods.gcrodr import GCRODR, GMRESDR
from kryloset.krylov.methods.invariant import delta, wanted_space
from kryloset.krylov.methods.recycling_bicgstab import RecyclingBiCGStab
from kryloset.krylov.methods.recycling_cg import RecyclingCG
from kryloset.krylov.methods.recycling_minres import RecyclingMINRES
from kryloset.krylov.options import keep_bits
from kryloset.krylov.reason import Reason
from kryloset.krylov.solver import SequenceSolver, SolveResult
from kryloset.krylov.state import SolverState
from kryloset.krylov.structure import Structure, confirm_structure, probe_structure

keep_bits()

__all__ = [
    "GCRODR",
    "GMRESDR",
    "Attempt",
    "Automatic",
    "AutomaticState",
    "Reason",
    "Recording",
    "RecyclingBiCGStab",
    "RecyclingCG",
    "RecyclingMINRES",
    "SequenceSolver",
    "SolveError",
    "SolveResult",
    "SolverState",
    "Structure",
    "confirm_structure",
    "delta",
    "probe_structure",
    "solve_or_escalate",
    "wanted_space",
]
