# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The equations of a dataset's instances: how far a prediction is from solving them.

A prediction whose values are the unknowns x of a linear system A x = b has the relative residual
||b - A x|| / ||b||, that by which solutions are verified. It needs no solution, and torch
differentiates it: x is a selection of the predicted values, and A x a sparse product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.pairs import Batch, Place

#: Bytes of the systems that a training remembers, so that they are assembled once.
REMEMBERED = 2**31

#: The system of an instance, from its row in the dataset: A and b of PETSc, and where the values of
#: x are in a prediction as a vector.
type Assemble = Callable[[int], tuple[Any, Any, NDArray[np.int64]]]

#: Opens the equations of a dataset, from its file and where predictions have their values.
type OpenEquations = Callable[[Path, Place], "Equations"]


@dataclass(frozen=True, eq=False)
class Equation:
    """The linear system A x = b of an instance.

    Attributes:
        matrix: A, (n, n), sparse, in float64.
        rhs: b, (n,), in float64.
        places: Where the values of x are in a prediction as a vector, (n,).
    """

    matrix: Tensor
    rhs: Tensor
    places: Tensor

    def residual(self, prediction: Tensor) -> Tensor:
        """Return ||b - A x|| / ||b||, or ||A x|| if b = 0.

        Args:
            prediction: (K, *grid), or at the nodes of a mesh (P, K).
        """
        x = prediction.to(self.rhs.dtype).flatten()[self.places]
        norm = self.rhs.norm()
        return (self.rhs - self.matrix @ x).norm() / torch.where(norm > 0, norm, 1)

    def to(self, device: torch.device) -> "Equation":
        """Return the same system on another device."""
        parts = {name: part.to(device) for name, part in vars(self).items()}
        return replace(self, **parts)


class Equations:
    """The linear systems of the instances of a dataset, by their rows.

    Args:
        assemble: Assembles them, into storage that they may share.
    """

    def __init__(self, assemble: Assemble) -> None:
        """Keep what assembles."""
        self._assemble = assemble
        self._known: dict[int, Equation] = {}
        self._room = REMEMBERED
        #: Row and column of each entry, and the places of the unknowns, of the last system.
        self._pattern = (torch.empty(2, 0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))

    def __getitem__(self, row: int) -> Equation:
        """Return the system of the instance in a row of the dataset."""
        matrix, rhs, places = self._assemble(row)
        starts, columns, values = matrix.getValuesCSR()
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        indices = torch.from_numpy(np.stack((rows, columns)).astype(np.int64))
        found = indices, torch.from_numpy(places)
        # On the same mesh it is the same, and takes most of the memory.
        if not all(map(torch.equal, found, self._pattern)):
            self._pattern = found
        return Equation(
            torch.sparse_coo_tensor(
                self._pattern[0],
                torch.from_numpy(values),
                matrix.getSize(),
                is_coalesced=True,
                check_invariants=False,
            ),
            torch.from_numpy(rhs.array_r.copy()),
            self._pattern[1],
        )

    def loss(self, batch: Batch, prediction: Tensor) -> Tensor:
        """Return the mean residual of the predictions of a batch, which torch differentiates.

        Systems are assembled once, as far as there is memory for `REMEMBERED` bytes of them.

        Args:
            batch: The pairs.
            prediction: What an operator returned for them.
        """
        rows, predictions = batch.rows.tolist(), batch.separate(prediction)
        residuals = [
            self._remember(row).to(prediction.device).residual(one)
            for row, one in zip(rows, predictions, strict=True)
        ]
        return torch.stack(residuals).mean().to(prediction.dtype)

    def _remember(self, row: int) -> Equation:
        if row in self._known:
            return self._known[row]
        equation = self[row]
        self._room -= equation.matrix._nnz() * 8 + equation.rhs.nbytes
        if self._room > 0:
            self._known[row] = equation
        return equation

    def residuals(
        self, rows: NDArray[np.int64], predictions: Sequence[NDArray[Any]] | NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return the residuals of predictions of several instances, (N, 1): infinity for no number.

        Args:
            rows: Their rows in the dataset, (N,).
            predictions: Of each, (K, *grid), or at the nodes of a mesh (P, K).
        """
        found = [
            float(self[row].residual(torch.from_numpy(prediction)))
            for row, prediction in zip(rows.tolist(), predictions, strict=True)
        ]
        return np.nan_to_num(np.asarray(found), nan=np.inf, posinf=np.inf)[:, None]
