# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many threads the libraries below may use."""

import os


def keep_blas_to_one_thread() -> None:
    """Keep BLAS to one thread, unless the environment asks for more.

    A chunk is sequential, and chunks run side by side. Call it before NumPy or PETSc is loaded.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def let_idle_threads_sleep() -> None:
    """Let idle threads of torch sleep: spinning, they take the cores of other jobs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
