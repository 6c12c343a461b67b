# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where operators that were trained alike disagree, which is where they are likely to be wrong."""

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]


def measure_spread(predictions: Array) -> Array:
    """Return how far the predictions of several operators are apart, relative to their mean.

    √(Σ (p_m - p̄)² / M) / ||p̄|| over the M operators, all channels and points, with their mean p̄.

    Args:
        predictions: (M, N, K, *grid).

    Returns:
        (N,).
    """
    mean = predictions.mean(axis=0)
    axes = tuple(range(1, mean.ndim))
    apart = np.square(predictions - mean).sum(axis=tuple(axis + 1 for axis in axes)).mean(axis=0)
    return np.asarray(np.sqrt(apart / np.square(mean).sum(axis=axes)))


def choose_by_spread(
    spread: Array, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw instances without repetition, each time with probabilities proportional to the spread.

    Stochastic batch active learning of Kirsch et al., "Stochastic batch acquisition: a simple
    baseline for deep active learning", TMLR 2023, with the power 1, by the Gumbel-max trick of
    section 3. The largest ones alone would be much alike.

    Args:
        spread: Positive numbers, (N,).
        count: How many are drawn.
        generator: Makes the random choices.

    Returns:
        Their places, ascending, (count,).
    """
    keys = np.log(spread) + generator.gumbel(size=len(spread))
    return np.sort(np.argsort(keys)[::-1][:count]).astype(np.int64)
