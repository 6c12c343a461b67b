# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A check of the solve records: they must fit the residuals and each other."""

from collections.abc import Sequence

import numpy as np

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.krylov.reason import Reason
from kryloset.run.checks.failures import refuse

#: How far a stored residual may be from the recomputed one, relative to it or to the tolerance.
RESIDUAL_ROUNDING = 0.1


def check_solver_records(data: Dataset, residuals: Sequence[float]) -> str:
    """Check that the solve records fit the residuals and each other.

    A residual is a difference of nearly equal numbers, whose rounding depends on the processor.
    It may be off by a tenth of itself, or of the tolerance.

    Args:
        data: The dataset.
        residuals: The recomputed residuals; fewer than instances if recomputing failed.

    Returns:
        What was found.

    Raises:
        DataError: A record is impossible. The message says which, and names its instances.
    """
    told = data.solver()
    tolerance, residual = data.config.solver.tolerance, np.array(residuals)
    stored = told["true_residual"]
    if len(residual) == len(stored):
        allowed = RESIDUAL_ROUNDING * (np.maximum(stored, residual) + tolerance)
        wrong = np.flatnonzero(~((stored >= 0) & (np.abs(stored - residual) <= allowed)))
        refuse(
            "true residuals that are not those of the solutions",
            [f"instance {i}: {stored[i]:.3g}, recomputed {residual[i]:.3g}" for i in wrong],
        )
    order = np.argsort(told["position"], kind="stable")
    if not np.array_equal(told["position"][order], np.arange(len(data))):
        raise DataError("the positions are not an order of the instances")
    steps = np.diff(told["chunk"][order], prepend=-1)
    if not (steps[0] == 1 and np.isin(steps[1:], (0, 1)).all()):
        raise DataError("the chunks are not contiguous parts of the order")
    before = np.where(steps == 1, -1, np.roll(order, 1))
    taken = told["predecessor"][order]
    counts = [name for name in told if name not in ("true_residual", "reason", "predecessor")]
    reason = np.where(told["systems"] > 0, int(Reason.CONVERGED), 0)
    faults = {
        "a predecessor that was not solved just before": order[(taken != -1) & (taken != before)],
        "a reason other than convergence": np.flatnonzero(told["reason"] != reason),
        "a strategy without a name": np.flatnonzero(told["way"] >= len(data.strategies())),
        **{f"{name} below 0": np.flatnonzero(told[name] < 0) for name in counts},
    }
    refuse(
        "solve records that are impossible",
        [f"instance {i}: {what}" for what, where in faults.items() for i in where],
    )
    return "residuals as recomputed; order, chunks and predecessors fit"
