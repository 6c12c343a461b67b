# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A deflation space that an operator predicts, for GCRO-DR and recycling CG.

J. Luo, J. Wang, H. Wang, H. Dong, Z. Geng, H. Chen and Y. Kuang, "Neural Krylov iteration for
accelerating linear system solving" (NeurIPS 2024). The wanted space is here that of M^-1 A, the
operator of the method, and not that of A alone.
"""

from dataclasses import dataclass, replace

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import torch
from torch import Tensor

from kryloset.krylov import SolverState
from kryloset.learn.operator import Operator
from kryloset.learn.solving.fitting import Array, fit, make_operator, predict


@dataclass(frozen=True)
class PredictedSpace:
    """Spaces that an operator predicts from the coefficient of a system.

    Attributes:
        operator: Predicts k functions that span the space.
    """

    operator: Operator

    @classmethod
    def learn(
        cls, fields: Array, spaces: Array, *, modes: int, steps: int, batch: int, seed: int
    ) -> "PredictedSpace":
        """Learn from coefficients (N, x, y) and bases of the wanted spaces (N, n, k)."""
        operator = make_operator(fields, spaces.shape[-1], 1.0, modes=modes, seed=seed)
        x, wanted = torch.from_numpy(fields[:, None]).float(), torch.from_numpy(spaces).float()

        def loss(items: Tensor) -> Tensor:
            return projection_loss(operator(x[items]).flatten(2).mT, wanted[items])

        fit(operator, loss, len(x), steps=steps, batch=batch, rate=1e-2, seed=seed)
        return cls(operator)

    def __call__(self, field: Array, matrix: PETSc.Mat, state: SolverState) -> SolverState:
        """Return a state with the space for a system, from its coefficient (x, y)."""
        columns = predict(self.operator, field).reshape(-1, matrix.getSize()[0]).T
        space = np.asfortranarray(np.linalg.qr(columns)[0])
        return replace(state.without_space(), space=space)


def projection_loss(columns: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over the instances of sum_j ||v_j - Q Q'v_j||, with Q = qr(columns).

    Luo et al., section 4.2. It is 0 where the columns span the wanted space.

    Args:
        columns: (N, n, k), independent.
        wanted: (N, n, q), orthonormal columns v_j.
    """
    basis = torch.linalg.qr(columns)[0]
    return (wanted - basis @ (basis.mT @ wanted)).norm(dim=1).sum(dim=-1).mean()
