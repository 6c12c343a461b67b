# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which of PETSc's options a solver passes through: read without PETSc.

A solver promises a tolerance on the true residual, counts products, and keeps its bits from run
to run. Options that would break a promise are refused, and so are those for which the solver has a
setting.
"""

import re
from collections.abc import Mapping

type Value = bool | int | float | str
"""The value of an option. True and false are passed as words, an empty text as no value."""

type PetscOptions = Mapping[str, Value]
"""PETSc's options by name, without the leading hyphen."""

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")

SETTINGS = {
    "ksp_type": "method",
    "pc_type": "preconditioner",
    "ksp_rtol": "tolerance",
    "ksp_max_it": "max_iterations",
    "ksp_gmres_restart": "restart",
    "pc_factor_levels": "fill",
    "pc_sor_omega": "omega",
    "ksp_initial_guess_nonzero": "guess",
}
"""Options for which the solver has a setting. Those of inner solvers (`mg_levels_...`) pass."""

STALE = "pbjacobi"
"""An inner preconditioner that does not follow a refilled matrix. `MatInvertBlockDiagonal` returns
the inverses of the first entries again, unless the pattern has changed (PETSc 3.25.5)."""

HARMLESS = re.compile(
    r"ksp_(view|monitor)\w*|ksp_converged_reason|"
    r"ksp_gmres_(modifiedgramschmidt|classicalgramschmidt|cgs_refinement_type|preallocate)"
)
"""Options of the outer KSP that pass: they print, or choose how GMRES orthogonalises."""

REFUSED = re.compile(
    r"ksp_\w+|pc_(python_type|use_amat|ksp_\w+)|\w*pc_factor_in_place|(options|log|help|info)\w*"
)
"""Options that break a promise; a factor in the place of A would leave no residual to compute."""


def check_petsc_options(method: str, options: PetscOptions) -> None:
    """Refuse options that a solver cannot pass through.

    Args:
        method: the method of the solver.
        options: the options to pass through.

    Raises:
        ValueError: names the option, and the setting to use instead.
    """
    if not isinstance(options, Mapping):
        raise ValueError(
            f"petsc_options has the type {type(options).__name__}: give names with values, as in "
            '{"pc_gamg_threshold": 0.02}'
        )
    if options and method == "hpddm":
        raise ValueError("petsc_options: method hpddm takes its options from restart and recycle")
    for name, value in options.items():
        key = f"petsc_options {name}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(
                f"petsc_options {name!r}: write the option's name without a leading hyphen or a "
                "value, such as pc_gamg_threshold"
            )
        if not isinstance(value, Value.__value__):
            raise ValueError(
                f"{key} has a value of the type {type(value).__name__}: give a number, a text, or "
                "true or false"
            )
        if name.lower() in SETTINGS:
            raise ValueError(f"{key}: use the setting {SETTINGS[name.lower()]}")
        if name.lower().endswith("pc_type") and options[name] == STALE:
            raise ValueError(
                f"{key}: PETSc's {STALE} keeps the blocks of the first matrix for all that follow: "
                "take jacobi, sor or ilu"
            )
        if REFUSED.fullmatch(name.lower()) and not HARMLESS.fullmatch(name.lower()):
            raise ValueError(
                f"{key}: the solver sets this itself, to keep its tolerance and its counts; "
                "options of the preconditioner (pc_...) and of inner solvers (mg_levels_..., "
                "sub_...) can be given, and those that print (ksp_view, ksp_monitor)"
            )
