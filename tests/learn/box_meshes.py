# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Meshes of boxes, each cube divided into simplices along its diagonal."""

from itertools import permutations

import numpy as np
import torch

from kryloset.learn.models.base import Points, Task
from kryloset.learn.point_batch import PointBatch
from kryloset.learn.simplices import SimplexMesh


def box_mesh(dimension, degree=1, cubes=3, periodic=False):
    """Return the mesh of a box with the sides 1, 2, 3, periodic along the first axis or not."""
    sides = np.arange(1.0, 1 + dimension)
    counts = np.full(dimension, degree * cubes + 1)
    counts[0] -= periodic
    corners = np.stack(np.meshgrid(*[np.arange(cubes)] * dimension), -1).reshape(-1, dimension)
    cells = []
    for order in permutations(range(dimension)):
        path = np.vstack(
            (np.zeros(dimension, int), np.cumsum(np.eye(dimension, dtype=int)[list(order)], 0))
        )
        nodes = list(degree * path)
        if degree == 2:
            nodes += [a + b for i, a in enumerate(path) for b in path[:i]]
        cells.append(degree * corners[:, None] + np.array(nodes))
    places = np.concatenate(cells)
    numbers = np.ravel_multi_index(
        tuple(np.moveaxis(places % counts if periodic else places, -1, 0)), counts
    )
    grid = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, dimension)
    return SimplexMesh(grid / (degree * cubes) * sides, numbers, {0: 1.0} if periodic else {})


def make_batch(mesh, channels=2, seed=0):
    """Return an instance on a mesh with random functions."""
    random = np.random.default_rng(seed)
    sides = np.arange(1.0, 1 + mesh.points.shape[1])
    x, y = random.standard_normal((2, len(mesh.points), channels))
    return PointBatch.of(0, [0], mesh, mesh.points / sides, x, y)


def make_task(dimension, channels=2, periodic=False):
    """Return the task of such instances."""
    return Task(
        inputs=tuple("abc"[:channels]),
        outputs=tuple("uvw"[:channels]),
        coordinates=tuple(np.linspace(0, 1 + axis, 4) for axis in range(dimension)),
        periodic=(periodic, *(False for _ in range(dimension - 1))),
        dimensions=dimension,
    )


def renumber(x, points, order):
    """Return inputs and points of one instance with other numbers: the new k-th was order[k]."""
    places = torch.argsort(order)
    return x[order], Points(
        positions=points.positions[order],
        instance=points.instance,
        count=1,
        edges=places[points.edges],
    )
