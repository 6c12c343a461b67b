# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Meshes that close on themselves, unfolded, since a picture of a cell needs its own corners."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Numbers = NDArray[Any]


def unfold(
    points: Numbers, cells: Numbers, periods: Mapping[int, float]
) -> tuple[Numbers, Numbers, Numbers]:
    """Return a mesh in which cells that reach the end of a periodic axis have nodes there.

    Args:
        points: (nodes, axes).
        cells: (cells, nodes of a cell), each less than half as wide as the domain.
        periods: By the number of each periodic axis.

    Returns:
        Points and cells, and for each point the node that it is, whose values it has.
    """
    axes = np.arange(points.shape[1])
    moved = np.zeros((*cells.shape, len(axes)), np.int64)
    for axis, period in periods.items():
        along = points[cells][..., axis] - points[:, axis].min()
        reaching = np.ptp(along, axis=1) > period / 2
        moved[..., axis] = reaching[:, None] & (along < period / 2)
    keys, places = np.unique((cells << len(axes)) + (moved << axes).sum(-1), return_inverse=True)
    nodes = keys >> len(axes)
    turns = (keys[:, None] >> axes) & 1
    lengths = np.array([periods.get(axis, 0.0) for axis in axes.tolist()])
    return points[nodes] + turns * lengths, places.reshape(cells.shape), nodes
