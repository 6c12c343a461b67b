# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Division of an order into contiguous chunks."""

import numpy as np
from numpy.typing import NDArray


def partition(
    count: int,
    chunks: int,
    lengths: NDArray[np.floating] | None = None,
    *,
    tolerance: float = 0.0,
) -> NDArray[np.int64]:
    """Divide ordered instances into contiguous chunks of nearly equal size.

    Without `lengths` the sizes differ by at most one. With them each bound is moved to cut a long
    step, since a step between chunks costs nothing: each chunk starts anew. No bound moves farther
    than `tolerance` / 2 of a chunk, so sizes change by at most `tolerance` of a chunk and one. The
    ranges in which bounds may move do not overlap, so each cuts the longest step in its range.

    Args:
        count: Number of instances.
        chunks: Number of chunks.
        lengths: Lengths of the steps along the order, shape (count - 1,).
        tolerance: Fraction of a chunk's size, 0 to 0.9.

    Returns:
        Bounds, shape (chunks + 1,): chunk c holds the positions bounds[c] to bounds[c + 1] - 1.

    Raises:
        ValueError: A chunk would be empty, or `tolerance` or the number of lengths is wrong.
    """
    if not 1 <= chunks <= count:
        raise ValueError(f"{count} instances cannot fill {chunks} chunks: take 1 to {count} chunks")
    if not 0 <= tolerance <= 0.9:
        raise ValueError(f"tolerance {tolerance} is not a share from 0 to 0.9")
    bounds = np.arange(chunks + 1, dtype=np.int64) * count // chunks
    if lengths is None:
        return bounds
    if len(lengths) != count - 1:
        raise ValueError(f"{count} instances have {count - 1} steps, not {len(lengths)}")
    reach = int(tolerance / 2 * (count // chunks))
    # Nearest first, since the first of equally long steps is taken.
    moves = np.array(sorted(range(-reach, reach + 1), key=abs))
    for chunk in range(1, chunks):
        # The step to position p is the one before it.
        bounds[chunk] += moves[np.asarray(lengths)[bounds[chunk] + moves - 1].argmax()]
    return bounds
