# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Fourier neural operator with factorised weights."""

from pydantic import Field

from kryloset.learn.models.base import Task
from kryloset.learn.models.fno import FNO


class TFNO(FNO):
    """Fourier neural operator with Tucker tensors as weights (Kossaifi et al., TMLR 2024).

    It is that of the library neuraloperator.
    """

    class Settings(FNO.Settings):
        """As of the Fourier neural operator, with a rank."""

        rank: float = Field(
            0.1,
            gt=0,
            le=1,
            description="Share of the spectral weights of a Fourier neural operator that are kept.",
        )

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__(settings, task, factorization="Tucker", rank=settings.rank)
