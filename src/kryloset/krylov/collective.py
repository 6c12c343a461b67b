# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Decisions on which all ranks have to agree.

A single rank sends no messages, whose time would be noticeable if a system takes a millisecond.
"""

from mpi4py import MPI
from petsc4py import PETSc


def any_rank(comm: PETSc.Comm, value: bool) -> bool:
    """Return whether the value is true on at least one rank. Collective."""
    return value if comm.size == 1 else bool(comm.tompi4py().allreduce(int(value)))


def largest(comm: PETSc.Comm, value: float) -> float:
    """Return the largest value over all ranks. Collective."""
    return value if comm.size == 1 else float(comm.tompi4py().allreduce(value, MPI.MAX))
