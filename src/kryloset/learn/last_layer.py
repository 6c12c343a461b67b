# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one operator does not know: the variance that its last layer leaves, were it Bayesian.

A linear layer W φ with Gaussian weights has, after it has seen instances j at points p, weights of
the covariance S = (λ I + Σ_j G_j)⁻¹, where G_j is the mean over p of φ_jp φ_jpᵀ. An instance i that
is not solved has the mean variance tr(S G_i), which needs no solution. The instance of the largest
variance is chosen, S then contains it, and so on. This is MaxDet on the posterior of the kernel of
last-layer features, of Holzmüller et al., "A framework and benchmark for deep batch active learning
for regression", JMLR 24 (2023), with a vector of features at each point of an instance.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.errors import DataError
from kryloset.learn.operator import Operator

type Array = NDArray[np.float64]

#: Features of a layer that has more are projected onto as many random directions.
SKETCH = 64

#: λ, as a share of the mean trace of the candidates, as the noise of Holzmüller et al.
RIDGE = 1e-6

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LastLayer:
    """The features that go into the last layer of an operator.

    That is the last one called of the linear maps and convolutions whose inputs depend on the
    instance: the trunk of a DeepONet has the same for all.

    Args:
        operator: The operator, on the CPU.
        x: (2, C, *grid), inputs of two instances.

    Raises:
        DataError: No linear map and no convolution has inputs that depend on the instance.
    """

    def __init__(self, operator: Operator, x: Tensor) -> None:
        """Find the layer."""
        self.operator = operator
        layers = [m for m in operator.modules() if isinstance(m, _LAYERS)]
        one, other = (_record(operator, layers, part)[0] for part in (x[:1], x[1:2]))
        depend = [
            layer
            for layer, seen in one.items()
            if layer not in other or not torch.equal(seen, other[layer])
        ]
        if not depend:
            raise DataError(
                f"the network {type(operator.network).__name__} has no linear layer and no "
                "convolution of torch.nn whose inputs depend on the instance: choose with "
                "`--by spread` and several models"
            )
        self._layer = depend[-1]
        channels = _rows(self._layer, one[self._layer]).shape[1]
        # As many for each layer of equal width, whatever was drawn before.
        self._sketch = (
            np.random.default_rng(0).normal(size=(channels, SKETCH)) / SKETCH**0.5
            if channels > SKETCH
            else None
        )

    def grams(self, x: Tensor) -> Array:
        """Return G of each instance, over the mean square of what is predicted: (N, F, F).

        So variances are relative to predictions, as errors are.

        Args:
            x: (N, C, *grid), inputs.
        """
        found = []
        for one in x.split(1):  # All that a layer sees then belongs to one instance.
            seen, prediction = _record(self.operator, [self._layer], one)
            features = _rows(self._layer, seen[self._layer])
            if self._sketch is not None:
                features = features @ self._sketch
            if self._layer.bias is not None:
                features = np.concatenate((features, np.ones((len(features), 1))), axis=1)
            square = np.nanmean(np.square(prediction.double().numpy()))
            found.append(features.T @ features / len(features) / square)
        return np.stack(found)


def _record(
    operator: Operator, layers: Sequence[nn.Module], x: Tensor
) -> tuple[dict[nn.Module, Tensor], Tensor]:
    """Return what goes into each layer, in the order of their last calls, and the prediction."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.pop(layer, None)
        seen[layer] = inputs[0].detach()

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            prediction = operator(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, prediction


def _rows(layer: nn.Module, seen: Tensor) -> Array:
    """Return the inputs of a layer, a row a point."""
    if not isinstance(layer, nn.Linear):
        # A batch is missing where an instance is given to a convolution by itself.
        seen = seen.movedim(1 if seen.dim() == layer.weight.dim() else 0, -1)
    return np.asarray(seen.flatten(0, -2).double().numpy())


def measure_variance(known: Array, candidates: Array) -> Array:
    """Return the variance tr(S G) of each candidate after the instances that were learnt from.

    Args:
        known: (M, F, F), G of the instances that were learnt from; M may be 0.
        candidates: (N, F, F), G of those that can be chosen.
    """
    return _variance(_precision(known, candidates), candidates)


def _precision(known: Array, candidates: Array) -> Array:
    """Return S⁻¹ after the known instances, (F, F)."""
    ridge = RIDGE * float(np.trace(candidates, axis1=1, axis2=2).mean())
    precision: Array = ridge * np.eye(candidates.shape[1]) + known.sum(axis=0)
    return precision


def _variance(precision: Array, candidates: Array) -> Array:
    variance: Array = candidates.reshape(len(candidates), -1) @ np.linalg.inv(precision).ravel()
    return variance


def choose_by_variance(known: Array, candidates: Array, count: int) -> NDArray[np.int64]:
    """Choose instances one after another, each time that of the largest variance tr(S G).

    Args:
        known: As of `measure_variance`.
        candidates: As of `measure_variance`.
        count: How many are chosen.

    Returns:
        Their places, ascending, (count,).
    """
    precision = _precision(known, candidates)
    free = np.ones(len(candidates), np.bool_)
    for _ in range(count):
        variance = _variance(precision, candidates)
        chosen = int(np.argmax(np.where(free, variance, -np.inf)))
        free[chosen] = False
        precision = precision + candidates[chosen]
    return np.flatnonzero(~free).astype(np.int64)
