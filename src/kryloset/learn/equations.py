# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The equations of a dataset's instances: how far predictions are from solving them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.equation import Equation
from kryloset.learn.pairs import Batch, Place

#: Bytes of the equations that a training remembers, so that they are assembled once.
REMEMBERED = 2**31

#: Opens the equations of a dataset, from its file and where predictions have their values.
type OpenEquations = Callable[[Path, Place], "Equations"]


class Equations:
    """The equations of the instances of a dataset, by their rows.

    Args:
        assemble: Returns that of a row.
    """

    def __init__(self, assemble: Callable[[int], Equation]) -> None:
        """Keep what assembles."""
        self._assemble = assemble
        self._known: dict[int, Equation] = {}
        self._room = REMEMBERED

    def __getitem__(self, row: int) -> Equation:
        """Return the equation of the instance in a row of the dataset."""
        return self._assemble(int(row))

    def loss(self, batch: Batch, prediction: Tensor) -> Tensor:
        """Return the mean residual of the predictions of a batch, which torch differentiates.

        Matrices are assembled once, as far as there is memory for `REMEMBERED` bytes of equations.

        Args:
            batch: The pairs.
            prediction: What an operator returned for them.
        """
        rows, states = batch.rows.tolist(), batch.states.tolist()
        residuals = [
            self._remember(row).to(prediction.device).residual(one, numbers)
            for row, numbers, one in zip(rows, states, batch.separate(prediction), strict=True)
        ]
        return torch.stack(residuals).mean().to(prediction.dtype)

    def _remember(self, row: int) -> Equation:
        if row in self._known:
            return self._known[row]
        equation = self[row]
        self._room -= equation.nbytes
        if self._room > 0:
            self._known[row] = equation
        return equation

    def residuals(
        self,
        rows: NDArray[np.int64],
        predictions: Iterable[NDArray[Any]],
        states: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the residuals of predicted states, (N, M): infinity for no number.

        Args:
            rows: The rows of the N instances in the dataset, (N,), in any order, also repeated.
            predictions: Of each, (K, *grid), or at the nodes of a mesh (P, K); of several states,
                one after another.
            states: Their numbers in the trajectories, (N, M); by default the last one, or the only.
        """
        numbers = np.full((len(rows), 1), -1) if states is None else states
        found: list[NDArray[np.float64]] = []
        last, equation = -1, None
        for row, one, prediction in zip(rows.tolist(), numbers.tolist(), predictions, strict=True):
            if equation is None or row != last:
                last, equation = row, self[row]
            with torch.no_grad():
                found.append(equation.residuals(torch.from_numpy(prediction), one).numpy())
        return np.asarray(np.nan_to_num(np.stack(found), nan=np.inf, posinf=np.inf))
