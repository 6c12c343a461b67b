# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Krylov solvers for sequences of PETSc systems, which reuse what earlier solves found.

They take any sequence of matrices and right-hand sides, and know nothing of PDEs. The names below
are imported when they are first used, so that `kryloset.krylov.names` can be read without PETSc.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kryloset.krylov.automatic.recording import Recording
    from kryloset.krylov.automatic.selection import Automatic
    from kryloset.krylov.automatic.state import AutomaticState
    from kryloset.krylov.ladder import Attempt, LaneError, SolveError, solve_or_escalate
    from kryloset.krylov.methods.gcrodr import GCRODR, GMRESDR
    from kryloset.krylov.methods.invariant import delta, wanted_space
    from kryloset.krylov.methods.recycling_bicgstab import RecyclingBiCGStab
    from kryloset.krylov.methods.recycling_cg import RecyclingCG
    from kryloset.krylov.methods.recycling_minres import RecyclingMINRES
    from kryloset.krylov.reason import Reason
    from kryloset.krylov.result import LaneResult, SolveResult
    from kryloset.krylov.solver import ResumableSolver, SequenceSolver, Solver, State
    from kryloset.krylov.state import SolverState
    from kryloset.krylov.structure import (
        Structure,
        confirm_definite,
        confirm_structure,
        probe_structure,
    )

__all__ = [
    "GCRODR",
    "GMRESDR",
    "Attempt",
    "Automatic",
    "AutomaticState",
    "LaneError",
    "LaneResult",
    "Reason",
    "Recording",
    "RecyclingBiCGStab",
    "RecyclingCG",
    "RecyclingMINRES",
    "ResumableSolver",
    "SequenceSolver",
    "SolveError",
    "SolveResult",
    "Solver",
    "SolverState",
    "State",
    "Structure",
    "confirm_definite",
    "confirm_structure",
    "delta",
    "probe_structure",
    "solve_or_escalate",
    "wanted_space",
]

_HOMES = {
    "Attempt": "ladder",
    "Automatic": "automatic.selection",
    "AutomaticState": "automatic.state",
    "GCRODR": "methods.gcrodr",
    "GMRESDR": "methods.gcrodr",
    "LaneError": "ladder",
    "LaneResult": "result",
    "Reason": "reason",
    "Recording": "automatic.recording",
    "RecyclingBiCGStab": "methods.recycling_bicgstab",
    "RecyclingCG": "methods.recycling_cg",
    "RecyclingMINRES": "methods.recycling_minres",
    "ResumableSolver": "solver",
    "SequenceSolver": "solver",
    "SolveError": "ladder",
    "SolveResult": "result",
    "Solver": "solver",
    "SolverState": "state",
    "State": "solver",
    "Structure": "structure",
    "confirm_definite": "structure",
    "confirm_structure": "structure",
    "delta": "methods.invariant",
    "probe_structure": "structure",
    "solve_or_escalate": "ladder",
    "wanted_space": "methods.invariant",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
