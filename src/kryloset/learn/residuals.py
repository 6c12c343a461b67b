# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The residuals of what a predictor makes of the instances of a dataset."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.learn.equations import Equations
from kryloset.learn.mesh_measuring import OnGridOfMeshes

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residuals:
    """What computes residuals of predictions on the grid, or of those at the nodes behind them.

    Values at nodes that are evaluated on a grid are not the unknowns any more, so an operator on
    meshes predicts again.

    Attributes:
        equations: The equations of the dataset, where the predictor has its values.
        at_nodes: The predictor, if it is an operator on meshes.
    """

    equations: Equations
    at_nodes: OnGridOfMeshes | None = None

    def of_steps(
        self, rows: NDArray[np.int64], prediction: NDArray[Any], numbers: NDArray[np.int64]
    ) -> Array:
        """Return the residuals of single steps, (N, S, M): each step begins with true states.

        Args:
            rows: The rows of the instances in the dataset, (N,).
            prediction: What is predicted on the grid, (N, S, K, *grid): in each step M states.
            numbers: Numbers of these states in their trajectories, (N, S M).
        """
        count, steps = prediction.shape[:2]
        parts = (
            prediction
            if self.at_nodes is None
            else map(self.at_nodes.single_steps_at_nodes, rows.tolist())
        )
        each, those = chain.from_iterable(parts), numbers.reshape(count * steps, -1)
        found = self.equations.residuals(np.repeat(rows, steps), each, those)
        return found.reshape(count, steps, -1)

    def of_rollout(
        self, rows: NDArray[np.int64], rolled: NDArray[Any], numbers: NDArray[np.int64]
    ) -> Array:
        """Return the residuals along rollouts, (N, M), in which states follow predicted ones.

        Args:
            rows: The rows of the instances in the dataset, (N,).
            rolled: The states of the rollout on the grid, (N, R, fields, *grid).
            numbers: Numbers of the first M of them in their trajectories, (N, M).
        """
        states = (
            rolled[:, : numbers.shape[1]]
            if self.at_nodes is None
            else map(self.at_nodes.roll_out_at_nodes, rows.tolist())
        )
        return self.equations.residuals(rows, states, numbers)
