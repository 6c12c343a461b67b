# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sparse matrices of PETSc as tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Matrices:
    """Copies matrices of PETSc to sparse tensors, in float64.

    Each shares with the one before what both have in common: on the same mesh the pattern, which
    takes most of the memory, and all of a matrix that does not change.
    """

    def __init__(self) -> None:
        """Begin with no matrix."""
        self._last = torch.sparse_coo_tensor(
            torch.empty(2, 0, dtype=torch.int64),
            torch.empty(0, dtype=torch.float64),
            is_coalesced=True,
            check_invariants=False,
        )

    def __call__(self, matrix: Any) -> Tensor:
        """Return a copy, (n, n)."""
        starts, columns, entries = matrix.getValuesCSR()
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        pattern = torch.from_numpy(np.stack((rows, columns)).astype(np.int64))
        values = torch.from_numpy(entries)
        if torch.equal(pattern, self._last.indices()):
            if torch.equal(values, self._last.values()):
                return self._last
            pattern = self._last.indices()
        self._last = torch.sparse_coo_tensor(
            pattern, values, matrix.getSize(), is_coalesced=True, check_invariants=False
        )
        return self._last
