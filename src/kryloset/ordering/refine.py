# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chains through instances with a matrix of distances, and their refinement."""

import numpy as np
from numpy.typing import NDArray

LONGEST_SEGMENT = 3
"""Largest number of instances that Or-opt moves together."""

PASSES = 3
"""Largest number of passes of Or-opt through a chain."""


def chain_through(distances: NDArray[np.float64], start: int) -> NDArray[np.int64]:
    """Return the greedy chain through all instances of a matrix of distances.

    Args:
        distances: Shape (N, N).
        start: First instance.

    Returns:
        A permutation of 0, ..., N - 1.
    """
    count = len(distances)
    order = np.empty(count, dtype=np.int64)
    taken = np.zeros(count)
    here = start
    for step in range(count):
        order[step] = here
        taken[here] = np.inf
        here = int((distances[here] + taken).argmin())
    return order


def or_opt(distances: NDArray[np.float64], order: NDArray[np.integer]) -> NDArray[np.int64]:
    """Shorten a chain by moving up to three neighbours in a row to where they fit better.

    I. Or, "Traveling salesman-type combinatorial problems", Northwestern University, 1976: a
    segment is removed, the gap is closed, and the segment is inserted where it adds least, in
    either direction. The first instance stays first. A pass takes O(N^2) operations.

    Args:
        distances: Shape (N, N), symmetric.
        order: A chain, a permutation of 0, ..., N - 1.

    Returns:
        A permutation whose chain is at most as long.
    """
    path = np.array(order, dtype=np.int64)
    for _ in range(PASSES):
        moves = [
            _move_segment(distances, path, begin, length)
            for length in range(1, LONGEST_SEGMENT + 1)
            for begin in range(1, len(path) - length + 1)
        ]
        if not any(moves):
            break
    return path


def _move_segment(
    distances: NDArray[np.float64], path: NDArray[np.int64], begin: int, length: int
) -> bool:
    """Move a segment to where it adds least, in place, if that shortens the chain."""
    segment = path[begin : begin + length]
    before, head, tail = path[begin - 1], segment[0], segment[-1]
    saved = distances[before, head]
    if begin + length < len(path):
        after = path[begin + length]
        saved = saved + distances[tail, after] - distances[before, after]
    rest = np.concatenate([path[:begin], path[begin + length :]])
    to_head, to_tail = distances[head][rest], distances[tail][rest]
    # Between neighbours of the rest, then after the last of them.
    gaps = distances[rest[:-1], rest[1:]]
    onwards = np.append(to_head[:-1] + to_tail[1:] - gaps, to_head[-1])
    reversed_ = np.append(to_tail[:-1] + to_head[1:] - gaps, to_tail[-1])
    place, turned = int(onwards.argmin()), int(reversed_.argmin())
    added = min(onwards[place], reversed_[turned])
    # A gain below the rounding error could lead to an endless cycle.
    if not saved - added > 1e-12 * (saved + distances[head].max()):
        return False
    if reversed_[turned] < onwards[place]:
        place, segment = turned, segment[::-1]
    path[:] = np.concatenate([rest[: place + 1], segment, rest[place + 1 :]])
    return True
