# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether what a dataset tells of the solver can be."""

from collections.abc import Sequence

import numpy as np

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.krylov.reason import Reason
from kryloset.run.findings import refuse

#: How far a stored residual may be from the recomputed one, as a part of it and of the tolerance.
_EVIDENCE = 0.1


def check_evidence(data: Dataset, residuals: Sequence[float]) -> str:
    """What is told of the solver fits the residuals and itself.

    A residual is a difference of nearly equal numbers, whose rounding depends on the processor:
    it is compared to a tenth of it, or of the tolerance.

    Args:
        data: The dataset.
        residuals: As recomputed; fewer than there are instances where they could not be.

    Returns:
        What was found.

    Raises:
        DataError: Something cannot be, named with its instances.
    """
    told = {name: values[:] for name, values in data.file["solver"].items()}
    tolerance, residual = data.config.solver.tolerance, np.array(residuals)
    stored = told["true_residual"]
    if len(residual) == len(stored):
        allowed = _EVIDENCE * (np.maximum(stored, residual) + tolerance)
        wrong = np.flatnonzero(~((stored >= 0) & (np.abs(stored - residual) <= allowed)))
        refuse(
            "true residuals that are not those of the solutions",
            [f"instance {i}: {stored[i]:.3g}, recomputed {residual[i]:.3g}" for i in wrong],
        )
    order = np.argsort(told["position"], kind="stable")
    if not np.array_equal(told["position"][order], np.arange(len(data))):
        raise DataError("the positions are no order of the instances")
    steps = np.diff(told["chunk"][order], prepend=-1)
    if not (steps[0] == 1 and np.isin(steps[1:], (0, 1)).all()):
        raise DataError("the chunks are no contiguous parts of the order")
    before = np.where(steps == 1, -1, np.roll(order, 1))
    taken = told["predecessor"][order]
    counts = [name for name in told if name not in ("true_residual", "reason", "predecessor")]
    reason = np.where(told["systems"] > 0, int(Reason.CONVERGED), 0)
    faults = {
        "a predecessor that was not solved just before": order[(taken != -1) & (taken != before)],
        "another reason than that it converged": np.flatnonzero(told["reason"] != reason),
        "a way that is not named": np.flatnonzero(
            told["way"] >= len(data.file["solver/way"].attrs["flag_values"])
        ),
        **{f"{name} below 0": np.flatnonzero(told[name] < 0) for name in counts},
    }
    refuse(
        "evidence that cannot be",
        [f"instance {i}: {what}" for what, where in faults.items() for i in where],
    )
    return "residuals as recomputed; order, chunks and predecessors fit"
