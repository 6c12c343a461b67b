# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A check of the solve records: they must fit the residuals and each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.krylov.reason import Reason
from kryloset.run.checks.failures import Faults

#: How far a stored residual may be from the recomputed one, relative to it or to the tolerance.
RESIDUAL_ROUNDING = 0.1


def check_records(
    told: Mapping[str, NDArray[Any]],
    numbers: NDArray[np.int64],
    residuals: Sequence[float],
    tolerance: float,
    strategies: int,
    kept: int = 0,
) -> str:
    """Check that the solve records of some instances fit their residuals and each other.

    A residual is a difference of nearly equal numbers, whose rounding depends on the processor.
    It may be off by a tenth of itself, or of the tolerance.

    Args:
        told: The records by quantity, in the order in which a chunk was solved, or of all chunks.
            Without `chunk` the instances are those of one chunk.
        numbers: The drawn numbers of the instances, in that order.
        residuals: The recomputed residuals; fewer than instances if recomputing failed.
        tolerance: Tolerance of the solver.
        strategies: Number of the strategies that have a name.
        kept: How many instances of the dataset are kept from an earlier one: those with the
            smallest numbers. Their predecessors are kept, too, and were solved in another order.

    Returns:
        What was found.

    Raises:
        DataError: A record is impossible. The message says which, and names its instances.
    """
    # What is stored is the rounded solution, if there is one.
    stored = told.get("stored_residual", told["true_residual"])
    residual = np.array(residuals)
    if len(residual) == len(stored):
        allowed = RESIDUAL_ROUNDING * (np.maximum(stored, residual) + tolerance)
        wrong = np.flatnonzero(~((stored >= 0) & (np.abs(stored - residual) <= allowed)))
        faults = Faults("true residuals that are not those of the solutions")
        faults.add(
            (int(numbers[i]), f"{stored[i]:.3g}, recomputed {residual[i]:.3g}") for i in wrong
        )
        faults.refuse()
    taken, solved = told["predecessor"], numbers >= kept
    chunks = told["chunk"][solved] if "chunk" in told else None
    unlike = (taken < -1) | (taken >= kept)
    unlike[solved] = (taken[solved] != -1) & (taken[solved] != _before(numbers[solved], chunks))
    others = ("true_residual", "stored_residual", "reason", "predecessor")
    counts = [name for name in told if name not in others]
    reason = np.where(told["systems"] > 0, int(Reason.CONVERGED), 0)
    impossible = {
        "a predecessor that was not solved just before": unlike,
        "a reason other than convergence": told["reason"] != reason,
        "a strategy without a name": told["way"] >= strategies,
        **{f"{name} below 0": told[name] < 0 for name in counts},
    }
    if "stored_residual" in told:
        unsolved = ~((told["true_residual"] >= 0) & (told["true_residual"] <= tolerance))
        impossible["a residual above the tolerance before rounding"] = unsolved
    faults = Faults("solve records that are impossible")
    faults.add((int(i), what) for what, where in impossible.items() for i in numbers[where])
    faults.refuse()
    return "residuals as recomputed; predecessors fit"


def _before(numbers: NDArray[np.int64], chunks: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the instance before each in its chunk, -1 for the first; None is one chunk."""
    before = np.roll(numbers, 1)
    before[:1] = -1
    if chunks is not None:
        before[1:][np.diff(chunks) != 0] = -1
    return before


def check_order(told: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Check that positions and chunks are those of an order of the instances.

    Args:
        told: The records by quantity, in the drawn order.

    Returns:
        The rows of the instances in solving order.

    Raises:
        DataError: They are not.
    """
    order = np.argsort(told["position"], kind="stable")
    if not np.array_equal(told["position"][order], np.arange(len(order))):
        raise DataError("the positions are not an order of the instances")
    steps = np.diff(told["chunk"][order], prepend=-1)
    if not (steps[0] == 1 and np.isin(steps[1:], (0, 1)).all()):
        raise DataError("the chunks are not contiguous parts of the order")
    return order


def check_all_records(
    told: Mapping[str, NDArray[Any]],
    numbers: NDArray[np.int64],
    residuals: Sequence[float],
    tolerance: float,
    strategies: int,
    kept: int,
) -> str:
    """Check the solve records of a dataset; arguments as of `check_records`, in the drawn order."""
    order = check_order(told)
    sorted_ = {name: column[order] for name, column in told.items()}
    recomputed = np.array(residuals)
    if len(recomputed) == len(order):
        recomputed = recomputed[order]
    check_records(sorted_, numbers[order], recomputed.tolist(), tolerance, strategies, kept)
    return "residuals as recomputed; order, chunks and predecessors fit"
