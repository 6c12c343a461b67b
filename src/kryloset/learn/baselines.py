# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Baselines for a neural operator: the mean solution, a linear map and the nearest neighbour.

The first two minimise the sum of squared relative errors over the training split. Relative errors
are also what is compared with the operator. Points outside an instance's domain, where outputs are
NaN, are ignored.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]

#: Penalties to try, relative to the square of the largest singular value. The ranks to try are 0,
#: which gives the mean, the powers of 2 and the full rank.
PENALTIES = np.logspace(-8, 1, 19)


@dataclass(frozen=True)
class Affine:
    """x -> b + W (x - a) on flattened functions, with W = B Aᵀ of low rank.

    Attributes:
        origin: a, a flattened input.
        value: b, a flattened output.
        inputs: A, principal directions of the inputs as columns.
        outputs: B, the responses to these directions as columns.
        shape: Shape of one instance's output, (K, *grid).
        penalty: Penalty α of the ridge regression, relative to the square of the largest
            singular value.
    """

    origin: Array
    value: Array
    inputs: Array
    outputs: Array
    shape: tuple[int, ...]
    penalty: float

    @property
    def rank(self) -> int:
        """Rank of W."""
        return int(self.inputs.shape[1])

    def __call__(self, x: Array) -> Array:
        """Return the outputs (N, K, *grid) for inputs (N, C, *grid)."""
        scores = (x.reshape(len(x), -1) - self.origin) @ self.inputs
        return (self.value + scores @ self.outputs.T).reshape(-1, *self.shape)


@dataclass(frozen=True)
class Nearest:
    """The solution of the known instance whose input is nearest in the Euclidean norm.

    An operator that is no better has learned less than its training split itself says.

    Attributes:
        inputs: Known inputs, flattened, (M, C · points).
        outputs: Their solutions, (M, K, *grid), 0 outside the domain.
    """

    inputs: Array
    outputs: Array

    def __call__(self, x: Array) -> Array:
        """Return the outputs (N, K, *grid) for inputs (N, C, *grid)."""
        # ||x - a||² without ||x||², which is the same for all a.
        products = x.reshape(len(x), -1) @ self.inputs.T
        distances = np.square(self.inputs).sum(axis=1) - 2 * products
        return np.asarray(self.outputs[distances.argmin(axis=1)])


def fit_nearest(x: Array, y: Array) -> Nearest:
    """Return the nearest neighbour among inputs (M, C, *grid) with solutions (M, K, *grid)."""
    return Nearest(x.reshape(len(x), -1), _continue(y)[0].reshape(y.shape))


def fit_mean(x: Array, y: Array) -> Affine:
    """Return the constant map to the mean solution, weighted by 1/||y||²: rank 0.

    At each point the mean is over the instances whose domain contains it, or 0 if there are none.
    """
    flat, inside = _continue(y)
    weights = _weights(flat) ** 2
    total = weights @ inside
    size = x[0].size
    nothing = np.zeros((size, 0)), np.zeros((flat.shape[1], 0))
    mean = weights @ flat / np.where(total, total, 1)
    return Affine(np.zeros(size), mean, *nothing, y.shape[1:], 0.0)


def fit_linear(
    train: tuple[Array, Array],
    valid: tuple[Array, Array],
    *,
    known: tuple[Array, Array] = (np.zeros(1), np.zeros(1)),
) -> Affine:
    """Regress outputs, less what is known of them, on the principal components of the inputs.

    Minimises Σᵢ ||yᵢ - zᵢ - b - W (xᵢ - a)||² / ||yᵢ||² + α ||W||² over W whose rows are
    in the span of the r leading principal directions (principal component regression
    with a ridge penalty; Hastie, Tibshirani and Friedman, "The Elements of Statistical
    Learning", 2009, sections 3.4.1 and 3.5.1). One singular value decomposition
    of the weighted, centred inputs gives the solution for every r and α. The pair with the smallest
    mean relative error on the validation split is used.

    The fit treats an instance as 0 at points outside its domain.

    Args:
        train: Inputs x (N, C, *grid) and outputs y (N, K, *grid) to fit.
        valid: Inputs and outputs for choosing r and α.
        known: Of both, what the map is added to: z, such as the last known states; 0 by default.
    """
    x, y = train[0].reshape(len(train[0]), -1), _continue(train[1])[0]
    weights = _weights(y)
    y = _continue(train[1] - known[0])[0]
    share = weights**2 / np.sum(weights**2)
    origin, value = share @ x, share @ y
    left, singular, right = np.linalg.svd((x - origin) * weights[:, None], full_matrices=False)
    loads = left.T @ ((y - value) * weights[:, None])
    scores = (valid[0].reshape(len(valid[0]), -1) - origin) @ right.T
    truth, inside = _continue(valid[1] - known[1])
    scale = _weights(_continue(valid[1])[0])

    def error(rank: int, penalty: float) -> float:
        filters = singular[:rank] / (singular[:rank] ** 2 + penalty * singular[0] ** 2)
        residual = (value + (scores[:, :rank] * filters) @ loads[:rank] - truth) * inside
        return float(np.mean(np.linalg.norm(residual, axis=1) * scale))

    full = len(singular)
    ranks = [0, *(2**power for power in range(full.bit_length()) if 2**power < full), full]
    candidates = [(rank, float(penalty)) for rank in ranks for penalty in PENALTIES]
    rank, penalty = min(candidates, key=lambda candidate: error(*candidate))
    filters = singular[:rank] / (singular[:rank] ** 2 + penalty * singular[0] ** 2)
    outputs = (filters[:, None] * loads[:rank]).T
    return Affine(origin, value, right[:rank].T, outputs, train[1].shape[1:], penalty)


def _continue(y: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the flattened outputs with 0 in place of NaN, and where they are not NaN."""
    flat = y.reshape(len(y), -1)
    inside = ~np.isnan(flat)
    return np.where(inside, flat, 0), inside


def _weights(flat: Array) -> Array:
    return 1 / np.linalg.norm(flat, axis=1)
