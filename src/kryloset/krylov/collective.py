# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What ranks have to agree on.

One rank alone asks nobody: where systems take a millisecond, messages to itself would be felt.
"""

from mpi4py import MPI
from petsc4py import PETSc


def any_rank(comm: PETSc.Comm, value: bool) -> bool:
    """Return whether it is true on a rank. Collective."""
    return value if comm.size == 1 else bool(comm.tompi4py().allreduce(int(value)))


def largest(comm: PETSc.Comm, value: float) -> float:
    """Return the largest value of all ranks. Collective."""
    return value if comm.size == 1 else float(comm.tompi4py().allreduce(value, MPI.MAX))
