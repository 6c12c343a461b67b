# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options of preconditioners that PETSc takes from its database only."""

from typing import Any

from petsc4py import PETSc

PREFIX = "kryloset_"


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
