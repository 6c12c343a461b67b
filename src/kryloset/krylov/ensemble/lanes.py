# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a solve finds of the lanes of an ensemble."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.vectors import Numbers
from kryloset.krylov.reason import Reason


@dataclass
class Lanes:
    """What was found of the lanes: arrays (lanes).

    Attributes:
        residuals: ||b - A x|| / ||b||; 0 for b = 0.
        reasons: numbers of `Reason`.
        iterations: Krylov steps of the solve that gave the solution.
        products: products with A.
        applications: products with M^-1.
    """

    residuals: Numbers
    reasons: NDArray[np.int64]
    iterations: NDArray[np.int64]
    products: NDArray[np.int64]
    applications: NDArray[np.int64]

    @classmethod
    def unsolved(cls, lanes: int, reason: Reason) -> Self:
        """Return lanes whose solution is 0, for a reason."""
        counts = np.zeros((3, lanes), dtype=np.int64)
        return cls(np.ones(lanes), np.full(lanes, int(reason)), *counts)

    def put(self, first: int, part: Self) -> None:
        """Take over a part of the lanes, from a first one on."""
        for field in fields(self):
            values = getattr(part, field.name)
            getattr(self, field.name)[first : first + len(values)] = values

    def take(self, other: Self, which: NDArray[np.bool_]) -> None:
        """Take over some lanes of another solve. All cost what both cost."""
        for name in ("residuals", "reasons", "iterations"):
            getattr(self, name)[which] = getattr(other, name)[which]
        for name in ("products", "applications"):
            getattr(self, name)[:] += getattr(other, name)

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Which lanes did not reach the tolerance."""
        return np.asarray(self.reasons != Reason.CONVERGED)
