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
    """Divide ordered instances into contiguous chunks of nearly one size.

    Without `lengths` the sizes differ by one at most. With them each bound is moved
    to where the step that it cuts is longest: a step between chunks costs nothing, for
    a chunk begins afresh. No bound moves farther than `tolerance` / 2 of a chunk, so a
    size is off by `tolerance` of it at most, and by one. The ranges in which bounds are
    looked for do not meet, so the cuts are the longest that there are within them.

    Args:
        count: Instances.
        chunks: Chunks.
        lengths: Of the steps along the order, shape (count - 1,).
        tolerance: Share of a chunk's size, 0 to 0.9.

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
    # The nearest first: of equally long steps the first found is taken.
    moves = np.array(sorted(range(-reach, reach + 1), key=abs))
    for chunk in range(1, chunks):
        # The step to position p is the one before it.
        bounds[chunk] += moves[np.asarray(lengths)[bounds[chunk] + moves - 1].argmax()]
    return bounds
