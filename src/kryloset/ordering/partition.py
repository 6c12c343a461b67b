# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Division of an order into contiguous chunks."""

import numpy as np
from numpy.typing import NDArray


def partition(count: int, chunks: int) -> NDArray[np.int64]:
    """Divide `count` ordered instances into contiguous chunks that differ by one at most.

    Returns:
        Bounds, shape (chunks + 1,): chunk c holds the positions bounds[c] to bounds[c + 1] - 1.

    Raises:
        ValueError: A chunk would be empty.
    """
    if not 1 <= chunks <= count:
        raise ValueError(f"{count} instances cannot fill {chunks} chunks: take 1 to {count} chunks")
    return np.arange(chunks + 1, dtype=np.int64) * count // chunks
