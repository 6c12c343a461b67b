# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The equations of a dataset's instances: how far a prediction is from solving them.

A prediction whose values on the grid are the unknowns x of a linear system A x = b has the relative
residual ||b - A x|| / ||b||, that by which solutions are verified. It needs no solution, and torch
differentiates it: x is a selection of the predicted values, and A x a sparse product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.errors import DataError
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.problems.base import Instance, Variable


@dataclass(frozen=True)
class Equation:
    """The linear system A x = b of an instance.

    Attributes:
        matrix: A, (n, n), sparse, in float64.
        rhs: b, (n,), in float64.
        places: Where the values of x are in a prediction (K, *grid) as a vector, (n,).
    """

    matrix: Tensor
    rhs: Tensor
    places: Tensor

    def residual(self, prediction: Tensor) -> Tensor:
        """Return ||b - A x|| / ||b||, or ||A x|| if b = 0, of a prediction (K, *grid)."""
        x = prediction.to(self.rhs.dtype).flatten()[self.places]
        norm = self.rhs.norm()
        return (self.rhs - self.matrix @ x).norm() / torch.where(norm > 0, norm, 1)


class Equations:
    """The linear systems of the instances of a family, whose fields are given on its grid.

    Args:
        discretisation: Its discretisation.
        discretised: Returns the one with the settings of an instance, from its row in the dataset.
        fields: Its fields, whose components are the channels of predictions.
        grid: Points along each axis.
        read: Returns the parameters of an instance from its row in the dataset.

    Raises:
        DataError: Each instance has several systems, or a mesh of its own; or the unknowns are not
            values at the points of the grid.
    """

    def __init__(
        self,
        discretisation: object,
        discretised: Callable[[int], Any],
        fields: Sequence[Variable],
        grid: tuple[int, ...],
        read: Callable[[int], Instance],
    ) -> None:
        """Find the unknowns among the values on the grid."""
        if not isinstance(discretisation, SteadyDiscretisation):
            raise DataError(
                "an instance has time steps, Newton iterations or a mesh of its own: the residual "
                "of a prediction is known where an instance is one linear system on a shared mesh"
            )
        self._discretised = discretised
        self._read = read
        numbers, first = {}, 0
        for field in fields:
            shape = (len(grid), *grid) if field.rank else grid
            size = int(np.prod(shape))
            values = np.arange(first, first + size, dtype=np.float64).reshape(shape)
            numbers[field.name] = np.moveaxis(values, 0, -1) if field.rank else values
            first += size
        try:
            places = discretisation.read_unknowns(numbers)
        except KeyError as error:
            raise DataError(
                f"the unknowns {error} are not values at the points of the grid, so a prediction "
                "there has no residual"
            ) from None
        self._places = torch.from_numpy(places.astype(np.int64))

    def __getitem__(self, row: int) -> Equation:
        """Return the system of the instance in a row of the dataset."""
        matrix, rhs = self._discretised(row).assemble(self._read(row))
        starts, columns, values = matrix.getValuesCSR()
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        indices = torch.from_numpy(np.stack((rows, columns)).astype(np.int64))
        return Equation(
            torch.sparse_coo_tensor(
                indices,
                torch.from_numpy(values),
                matrix.getSize(),
                is_coalesced=True,
                check_invariants=False,
            ),
            torch.from_numpy(rhs.array_r.copy()),
            self._places,
        )

    def residuals(self, rows: NDArray[np.int64], predictions: NDArray[Any]) -> NDArray[np.float64]:
        """Return the residuals of predictions of several instances, (N, 1).

        Args:
            rows: Their rows in the dataset, (N,).
            predictions: (N, K, *grid).
        """
        found = [
            float(self[row].residual(torch.from_numpy(prediction)))
            for row, prediction in zip(rows.tolist(), predictions, strict=True)
        ]
        return np.asarray(found)[:, None]
