# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Fixtures of the solver tests."""

from collections.abc import Callable

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that is the same in every test."""
    return np.random.default_rng(1)


@pytest.fixture
def residual() -> Callable[[sp.csr_array, PETSc.Vec, np.ndarray], float]:
    """Return the relative residual computed with SciPy, not with PETSc."""

    def compute(matrix: sp.csr_array, solution: PETSc.Vec, b: np.ndarray) -> float:
        return float(np.linalg.norm(b - matrix @ solution.getArray()) / np.linalg.norm(b))

    return compute
