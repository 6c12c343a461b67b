# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Functions at the nodes of meshes, one instance after another."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.losses import relative, unit_of
from kryloset.learn.metrics import ratio
from kryloset.learn.models.base import Points
from kryloset.learn.simplices import SimplexMesh

type Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PointBatch:
    """The pairs of some instances at the nodes of their meshes, one instance after another.

    Integrals weight nodes by the part of the domain around them, so that an error of the same
    functions does not depend on the mesh, as on a grid, where the trapezoidal rule does that. So
    does the loss, unlike that on a grid: a mesh may be finer in one place than in another.

    Attributes:
        x: (P, C), inputs in physical units.
        y: (P, K), outputs in physical units; or (P, S, K) after each of S steps. Predictions have
            the same shape.
        points: The nodes and their neighbours.
        weights: (P,), weights of the nodes in integrals over the domain, in physical units.
        cells: (n, D + 1), the nodes at the corners of the cells.
        volumes: (n,), lengths, areas or volumes of the cells.
        gradients: (n, D + 1, D), in each cell the gradients of the linear functions of its corners.
        rows: (N,), int64, the rows of the instances in the dataset.
        states: (N, M), int64, the numbers of the M states of y in their trajectories.
    """

    x: Tensor
    y: Tensor
    points: Points
    weights: Tensor
    cells: Tensor
    volumes: Tensor
    gradients: Tensor
    rows: Tensor
    states: Tensor

    @property
    def steps(self) -> int:
        """Number of steps S."""
        return 1 if self.y.dim() == self.x.dim() else self.y.shape[1]

    @property
    def arguments(self) -> tuple[Tensor, Points]:
        """What an operator takes."""
        return self.x, self.points

    @classmethod
    def of(
        cls,
        row: int,
        states: Sequence[int],
        mesh: SimplexMesh,
        positions: Array,
        x: Array,
        y: Array,
    ) -> "PointBatch":
        """Return the pair of one instance in float32.

        Args:
            row: Its row in the dataset.
            states: The numbers of the states of y in its trajectory.
            mesh: Its mesh.
            positions: (P, D), its nodes in [0, 1].
            x: (P, C), its inputs.
            y: (P, K) or (P, S, K), its outputs.
        """

        def single(values: Array) -> Tensor:
            return torch.from_numpy(values.astype(np.float32))

        count = len(positions)
        points = Points(
            positions=single(positions),
            instance=torch.zeros(count, dtype=torch.int64),
            count=1,
            edges=torch.from_numpy(mesh.edges),
        )
        return cls(
            x=single(x),
            y=single(y),
            points=points,
            weights=single(mesh.weights),
            cells=torch.from_numpy(mesh.corners),
            volumes=single(mesh.volumes),
            gradients=single(mesh.gradients),
            rows=torch.tensor([row]),
            states=torch.tensor([[*states]]),
        )

    @classmethod
    def join(cls, parts: Sequence["PointBatch"]) -> "PointBatch":
        """Return one batch of several: a `DataLoader` makes a batch by it."""
        points = [part.points for part in parts]
        first_node = np.cumsum([0, *(len(part.x) for part in parts)])[:-1].tolist()
        first = np.cumsum([0, *(p.count for p in points)])[:-1].tolist()
        edges = [p.edges + begin for p, begin in zip(points, first_node, strict=True)]
        cells = [part.cells + begin for part, begin in zip(parts, first_node, strict=True)]
        instances = [p.instance + begin for p, begin in zip(points, first, strict=True)]
        return cls(
            x=torch.cat([part.x for part in parts]),
            y=torch.cat([part.y for part in parts]),
            points=Points(
                positions=torch.cat([p.positions for p in points]),
                instance=torch.cat(instances),
                count=sum(p.count for p in points),
                edges=torch.cat(edges, dim=1),
            ),
            weights=torch.cat([part.weights for part in parts]),
            cells=torch.cat(cells),
            volumes=torch.cat([part.volumes for part in parts]),
            gradients=torch.cat([part.gradients for part in parts]),
            rows=torch.cat([part.rows for part in parts]),
            states=torch.cat([part.states for part in parts]),
        )

    def separate(self, prediction: Tensor) -> Sequence[Tensor]:
        """Return the M predicted states of each instance, one after another: (M, its P, fields)."""
        counts = torch.bincount(self.points.instance, minlength=self.points.count)
        return [
            one.reshape(len(one), self.states.shape[1], -1).movedim(1, 0)
            for one in prediction.split(counts.tolist())
        ]

    def square_l2(self, values: Tensor) -> Tensor:
        """Return ∫ u² dx of functions (P, K) on the meshes of the N instances: (N, K)."""
        weighted = self.weights.to(values)[:, None] * values.square()
        return self._add(weighted, self.points.instance)

    def square_h1(self, values: Tensor) -> Tensor:
        """Return ∫ u² + |∇u|² dx, (N, K), with the gradients of linear functions in the cells."""
        gradients, volumes = self.gradients.to(values), self.volumes.to(values)
        slopes = torch.einsum("ncd,nck->ndk", gradients, values[self.cells])
        density = volumes[:, None] * slopes.square().sum(dim=1)
        within = self.points.instance[self.cells[:, 0]]
        return self.square_l2(values) + self._add(density, within)

    def loss(self, norm: Literal["l2", "h1"], prediction: Tensor) -> Tensor:
        """Return the mean relative error of a prediction: in L² of all outputs of a step together.

        Where they are 0, it is relative to a constant, as that of `make_loss`.
        """
        instance, outputs = self.points.instance, self.y.shape[-1]
        p, u = (values.flatten(1) for values in (prediction, self.y))
        largest = u.abs().amax(dim=1)
        none = largest.new_zeros(self.points.count)
        unit = unit_of(none.scatter_reduce(0, instance, largest, "amax"))[instance, None]

        def square(values: Tensor) -> Tensor:
            """Return the squares of each step, (N, S)."""
            found = self.square_h1(values) if norm == "h1" else self.square_l2(values)
            return found.unflatten(1, (-1, outputs)).sum(dim=-1)

        return relative(*map(square, ((p - u) / unit, u / unit, torch.ones_like(u)))).mean()

    def relative_l2(self, prediction: Tensor) -> Array:
        """Return the relative L² errors of a prediction on the CPU, (N, K) or (N, S, K)."""
        p, u = (values.double().flatten(1) for values in (prediction, self.y))
        error, size = (self.square_l2(of).numpy() for of in (p - u, u))
        return np.asarray(np.sqrt(ratio(error, size))).reshape(-1, *self.y.shape[1:])

    def _add(self, values: Tensor, instance: Tensor) -> Tensor:
        """Return the sums over the instances, (N, K)."""
        return values.new_zeros((self.points.count, values.shape[1])).index_add(0, instance, values)

    def to(self, device: torch.device) -> "PointBatch":
        """Return the same pairs on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})
