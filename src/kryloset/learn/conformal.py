# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calibration of a predictor by split conformal prediction.

A score s(x, u) says how far the solution u is from the prediction p(x). Instances of a split that
was used for nothing else give n scores. The radius q of the level 1 - α is the ⌈(n + 1)(1 - α)⌉th
smallest of them. If a new instance is exchangeable with those, the set {u : s(x, u) ≤ q} contains
its solution with a probability of at least 1 - α, and of at most 1 - α + 1/(n + 1) where no two
scores are equal, whatever the predictor and the distribution are (Vovk, Gammerman and Shafer,
"Algorithmic learning in a random world", 2005; Lei et al., "Distribution-free predictive inference
for regression", J. Amer. Stat. Assoc. 113, 2018, theorem 2).

The probability is over the calibration as well. For one calibration the coverage has the
distribution Beta(k, n + 1 - k) with k = ⌈(n + 1)(1 - α)⌉ (Vovk, ACML 2012).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]

#: The levels 1 - α that are reported.
LEVELS = (0.8, 0.9, 0.95)


def radius(scores: Array, level: float) -> float:
    """Return the radius q of a level: infinity if there are too few scores for it.

    Args:
        scores: Scores of the instances that calibrate, (n,).
        level: 1 - α.
    """
    rank = _rank(len(scores), level)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def least_instances(level: float) -> int:
    """Return the least number n of instances that calibrate a level: (n + 1)(1 - α) ≤ n."""
    return math.ceil(round(level / (1 - level), 9))


def calibrate(
    scores: Mapping[str, Array], others: Mapping[str, Mapping[str, Array]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the radius of each level, and the share of the instances of other splits within it.

    Args:
        scores: By kind of score, those of the instances that calibrate, (n,). One that has no
            meaning is NaN, and left out.
        others: By split, the scores of its instances in the same way.

    Returns:
        By kind of score and level, `radius` and `coverage`, which has a number for each split.
        The radius is None where too few instances calibrate the level.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in scores}
    for kind, known in scores.items():
        new = {split: _known(of[kind]) for split, of in others.items()}
        for level in LEVELS:
            limit = radius(_known(known), level)
            coverage = {
                split: float((of <= limit).sum() / max(len(of), 1)) for split, of in new.items()
            }
            finite = limit if math.isfinite(limit) else None
            found[kind][f"{level:g}"] = {"radius": finite, "coverage": coverage}
    return found


def _known(scores: Array) -> Array:
    return scores[~np.isnan(scores)]


def _rank(count: int, level: float) -> int:
    """Return ⌈(n + 1)(1 - α)⌉, which rounding of 1 - α does not make larger."""
    return math.ceil(round((count + 1) * level, 9))
