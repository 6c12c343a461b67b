# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What it does to a solution that its numbers are rounded to float32.

A rounded solution x + e solves its equation only up to A e, which is no error of the solver. How
large that is, is found without knowing A: the same solution is moved at random, by a thousand times
as much as rounding moves it, and what follows from that is divided by a thousand.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import FLOAT32_ROUNDING, DatasetConfig
from kryloset.problems import Family

#: How many times as far as by rounding a solution is moved. Its own residual hardly matters then.
_TIMES = 1024.0
#: Times the effect of one random rounding that the effect of another one may be.
_MARGIN = 4.0


def find_rounded(config: DatasetConfig, family: Family) -> frozenset[str]:
    """Return the names of the fields and unknowns that are rounded to float32."""
    variables = (*family.fields, *family.unknowns) if config.storage.rounds else ()
    return frozenset(variable.name for variable in variables if not variable.ragged)


def moved(
    solution: Mapping[str, NDArray[Any]], rounded: Collection[str], number: int
) -> dict[str, NDArray[Any]]:
    """Return a solution of which each number is moved up or down, by as much as `allowed` assumes.

    Args:
        solution: Its arrays by name, in float64.
        rounded: Names of those that are rounded.
        number: Number of the instance, which decides the directions.
    """
    generator = np.random.default_rng(number)

    def move(values: NDArray[Any]) -> NDArray[Any]:
        ups = 2.0 * generator.integers(2, size=values.shape) - 1.0
        return np.asarray(values * (1.0 + _TIMES * FLOAT32_ROUNDING * ups))

    return {name: move(v) if name in rounded else v for name, v in solution.items()}


def allowed(change: float) -> float:
    """Return what rounding may change, from what `moved` changes."""
    return _MARGIN * change / _TIMES


def as_stored(
    solution: Mapping[str, NDArray[Any]], rounded: Collection[str]
) -> dict[str, NDArray[Any]]:
    """Return a solution of which some arrays are rounded to float32."""
    return {
        name: values.astype(np.float32).astype(np.float64) if name in rounded else values
        for name, values in solution.items()
    }
