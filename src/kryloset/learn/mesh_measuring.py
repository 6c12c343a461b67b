# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Operators on meshes as predictors on grids, to measure them beside all others.

What such an operator predicts at the nodes is a finite element function. On a grid it has its
values there, as solutions have.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.operator import Operator
from kryloset.learn.point_batch import PointBatch
from kryloset.learn.simplices import Evaluation, SimplexMesh

type Array = NDArray[np.float64]


class NumberedPairs(FieldPairs):
    """Pairs of the number of an instance in the file, as x, and its solution on a grid, as y.

    With a window they are whole trajectories.
    """

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several pairs."""
        return [pair | {"x": pair["row"]} for pair in super().__getitems__(items)]

    def stack(self, items: Iterable[int]) -> tuple[Array, Array]:
        """Return several pairs at once: arrays (N,) and (N, K, *grid) or more."""
        chosen = list(items)
        return self.instances[chosen].astype(np.float64), super().stack(chosen)[1]


class OnGridOfMeshes:
    """An operator on meshes as a predictor for `NumberedPairs`, and along them a `Stepper`.

    States stay at the nodes from step to step.

    Args:
        operator: The operator.
        meshes: Any split of the dataset; if it has states, whole trajectories of it.
        coordinates: Coordinates of the grid.
    """

    def __init__(self, operator: Operator, meshes: MeshPairs, coordinates: Sequence[Array]) -> None:
        """Keep what predicts."""
        self._operator = operator
        self._meshes = meshes
        self._order = [meshes.inputs.index(name) for name in operator.about["inputs"]]
        self._grid = [len(line) for line in coordinates]
        points = np.meshgrid(*coordinates, indexing="ij")
        self._points = np.stack([axis.ravel() for axis in points], axis=1)
        #: The evaluation of the mesh that was met last, which may be the next one, too.
        self._known: tuple[SimplexMesh, Evaluation] | None = None

    def __call__(self, x: NDArray[Any]) -> Array:
        """Return predictions (N, K, *grid) for the numbers of instances (N,)."""
        return self._on_grid(x, self._step)[:, 0]

    def single_steps(self, x: NDArray[Any], y: Array) -> Array:
        """Return the states after each of the true ones at the nodes, (N, S, K, *grid)."""
        return self._on_grid(x, self._step)

    def roll_out(self, x: NDArray[Any], steps: int) -> Array:
        """Return the states of several steps, (N, steps, K, *grid)."""
        return self._on_grid(x, lambda batch: self._roll_out(batch, steps))

    def single_steps_at_nodes(self, instance: int) -> Array:
        """Return the states after each of the true ones: of S steps M states, (S, M, P, fields)."""
        _, batch = self._read(instance)
        (states,) = batch.separate(self._step(batch))
        return _array(states.unflatten(0, (batch.steps, -1)))

    def roll_out_at_nodes(self, instance: int) -> Array:
        """Return the M states of a rollout as long as the trajectory, (M, P, fields)."""
        _, batch = self._read(instance)
        (states,) = batch.separate(self._roll_out(batch, batch.steps))
        return _array(states)

    def _step(self, batch: PointBatch) -> Tensor:
        """Return what is predicted at the nodes from the true states of each step, (P, S, K)."""
        states = self._operator.scaling.states
        known = states.inputs(batch.x, batch.y).unbind(dim=1) if states else [batch.x]
        with torch.no_grad():
            return torch.stack([self._operator(x, batch.points) for x in known], dim=1)

    def _roll_out(self, batch: PointBatch, steps: int) -> Tensor:
        """Return the states of several steps at the nodes, (P, steps, K)."""
        with torch.no_grad():
            return self._operator.roll_out(batch.x, steps, batch.points)

    def _on_grid(self, x: NDArray[Any], predict: Callable[[PointBatch], Tensor]) -> Array:
        """Return on the grid what is predicted at the nodes, (N, S, K, *grid)."""
        found = []
        for number in x:
            mesh, batch = self._read(int(number))
            states = _array(predict(batch))
            on_grid = self._evaluate(mesh, states.reshape(len(states), -1))
            found.append(on_grid.reshape(*states.shape[1:], *self._grid))
        return np.stack(found)

    def _read(self, instance: int) -> tuple[SimplexMesh, PointBatch]:
        """Return the mesh of an instance and its pair, with the inputs that the operator has."""
        mesh, batch = self._meshes.of_instance(instance)
        known = replace(batch, x=batch.x[:, self._order])
        return mesh, known.to(self._operator.scaling.input_mean.device)

    def _evaluate(self, mesh: SimplexMesh, values: Array) -> Array:
        """Return functions on the grid, (K, *grid), by their values at the nodes, (P, K)."""
        if self._known is None or self._known[0] is not mesh:
            self._known = mesh, mesh.evaluate(self._points)
        with np.errstate(over="ignore", invalid="ignore"):  # of one that grows without bounds
            return self._known[1](values).T.reshape(-1, *self._grid)


def _array(values: Tensor) -> Array:
    return np.asarray(values.cpu().double().numpy())
