# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options that PETSc takes from its database only."""

from typing import Any

from petsc4py import PETSc

PREFIX = "kryloset_"

ADDRESSES = ("vec_mdot_use_gemv", "vec_maxpy_use_gemv")
"""Options by which PETSc leaves products of a basis to BLAS, on as of PETSc 3.20.

BLAS sums in an order that depends on the addresses of the vectors, and these on chance: iterates of
GMRES differ from run to run in their last digits then. PETSc's own loops take as long."""


def keep_bits() -> None:
    """Let the products of every vector that is made from now on be the same in every run.

    What the user has set is left alone.
    """
    options = PETSc.Options()
    for name in ADDRESSES:
        if not options.hasName(name):
            options[name] = False
            # PETSc would warn of an option that nobody has asked for.
            options.getBool(name)


def set_from_options(pc: PETSc.PC, chosen: dict[str, Any]) -> None:
    """Set options of a preconditioner, which leave no trace in the database. Collective."""
    prefix = pc.getOptionsPrefix()
    pc.setOptionsPrefix(PREFIX)
    options = PETSc.Options(PREFIX)
    for key, value in chosen.items():
        options[key] = value
    pc.setFromOptions()
    for key in chosen:
        del options[key]
    pc.setOptionsPrefix(prefix)
