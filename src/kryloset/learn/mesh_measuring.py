# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Operators on meshes as predictors on grids, to measure them beside all others.

What such an operator predicts at the nodes is a finite element function. On a grid it has its
values there, as solutions have.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.operator import Operator
from kryloset.learn.simplices import Evaluation, SimplexMesh

type Array = NDArray[np.float64]


class NumberedPairs(FieldPairs):
    """Pairs of the number of an instance in the file, as x, and its solution on a grid, as y."""

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several pairs."""
        return [pair | {"x": pair["row"]} for pair in super().__getitems__(items)]

    def stack(self, items: Iterable[int]) -> tuple[Array, Array]:
        """Return several pairs at once: arrays (N,) and (N, K, *grid)."""
        chosen = list(items)
        return self.instances[chosen].astype(np.float64), super().stack(chosen)[1]


class OnGridOfMeshes:
    """An operator on meshes as a predictor for `NumberedPairs`.

    Args:
        operator: The operator.
        meshes: Any split of the dataset.
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
        return np.stack([self._predict(int(number)) for number in x])

    def at_nodes(self, instance: int) -> tuple[SimplexMesh, Array]:
        """Return the mesh of an instance and the prediction at its nodes, (P, K)."""
        mesh, batch = self._meshes.of_instance(instance)
        there = batch.to(self._operator.scaling.input_mean.device)
        with torch.no_grad():
            found = self._operator(there.x[:, self._order], there.points).cpu().double()
        return mesh, found.numpy()

    def _predict(self, instance: int) -> Array:
        mesh, found = self.at_nodes(instance)
        if self._known is None or self._known[0] is not mesh:
            self._known = mesh, mesh.evaluate(self._points)
        return self._known[1](found).T.reshape(-1, *self._grid)
