# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a predictor makes of whole trajectories, when it goes on from its own predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from kryloset.learn.bands import Waves
from kryloset.learn.metrics import mean, relative_l2, vrmse
from kryloset.learn.states import States

type Array = NDArray[np.float64]


@runtime_checkable
class Stepper(Protocol):
    """What predicts states of trajectories, wherever it has the known ones from."""

    def single_steps(self, x: Array, y: Array) -> Array:
        """Return the states after each of the true ones, (N, S, K, *grid).

        Args:
            x: Inputs of the first step.
            y: The later states, (N, S, K, *grid).
        """

    def roll_out(self, x: Array, steps: int) -> Array:
        """Return the states of several steps, each from those before, (N, steps, K, *grid).

        Args:
            x: Inputs of the first step.
            steps: Number of steps.
        """


@dataclass(frozen=True)
class StepperOnGrid:
    """A `Stepper` that makes states on a grid of those there.

    Attributes:
        predict: From inputs (N, C, *grid) to the next states (N, K, *grid).
        states: Which of the inputs are states.
    """

    predict: Callable[[Array], Array]
    states: States

    def single_steps(self, x: Array, y: Array) -> Array:
        """Return the states after each of the true ones, (N, S, K, *grid)."""
        known = self.states.inputs(torch.from_numpy(x), torch.from_numpy(y)).numpy()
        return np.asarray(self.predict(known.reshape(-1, *x.shape[1:]))).reshape(y.shape)

    def roll_out(self, x: Array, steps: int) -> Array:
        """Return the states of several steps, (N, steps, K, *grid)."""

        def step(inputs: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.asarray(self.predict(inputs.numpy()), x.dtype))

        with np.errstate(over="ignore", invalid="ignore"):  # of one that grows without bounds
            found: Array = self.states.roll_out(step, torch.from_numpy(x), steps).numpy()
        return found


def stepper_of(predict: Callable[[Array], Array], states: States) -> Stepper:
    """Return what a predictor is along trajectories.

    Args:
        predict: The predictor, which may be a `Stepper` itself.
        states: Which of its inputs are states, if it is none.
    """
    return predict if isinstance(predict, Stepper) else StepperOnGrid(predict, states)


@dataclass(frozen=True)
class Rollout:
    """Predicted trajectories beside the true ones, which may end earlier.

    Attributes:
        times: Time of each predicted state, (R,).
        fields: Names of the K fields.
        errors: `relative_l2` and `vrmse` of each state, (N, S, K), of which the truth is known.
        moments: By `predicted` and `true` the mean of each state over the points of the domain, and
            its variance, (N, R or S, K, 2).
        spectra: By `predicted` and `true` the energy by number of waves, of all states in the
            second half of the trajectory, (N, K, W).
    """

    times: Array
    fields: tuple[str, ...]
    errors: Mapping[str, Array]
    moments: Mapping[str, Array]
    spectra: Mapping[str, Array]

    @classmethod
    def measure(
        cls,
        prediction: Array,
        truth: Array,
        coordinates: Sequence[Array],
        times: Array,
        fields: tuple[str, ...],
    ) -> Self:
        """Measure some instances.

        Args:
            prediction: Predicted states, (N, R, K, *grid).
            truth: The first S of them, (N, S, K, *grid), NaN outside the domain.
            coordinates: Coordinates of the grid, one array per axis, with the end of a periodic
                one.
            times: Time of each predicted state, (R,).
            fields: Names of the fields.
        """
        shape, outside = truth.shape[:3], np.isnan(truth[:, :1])
        states = {"predicted": prediction, "true": truth}
        both = {
            name: np.where(outside, np.nan, values).astype(np.float64)
            for name, values in states.items()
        }
        p, u = (values[:, : shape[1]].reshape(-1, *truth.shape[2:]) for values in both.values())
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            errors = {"relative_l2": relative_l2(p, u, coordinates), "vrmse": vrmse(p, u)}
            return cls(
                times,
                fields,
                {name: values.reshape(shape) for name, values in errors.items()},
                {name: _moments(values, outside) for name, values in both.items()},
                {name: _spectrum(values, outside, coordinates) for name, values in both.items()},
            )

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return one of several, of other instances of the same dataset."""
        first = parts[0]

        def together(name: str) -> dict[str, Array]:
            every = [getattr(part, name) for part in parts]
            return {key: np.concatenate([part[key] for part in every]) for key in every[0]}

        return cls(first.times, first.fields, *map(together, ("errors", "moments", "spectra")))

    @property
    def last_errors(self) -> Array:
        """Relative L² error of the last known state of each instance, a mean over the fields."""
        return mean(self.errors["relative_l2"][:, -1], axis=-1)

    def describe(self) -> dict[str, Any]:
        """Return what `metrics.json` has of it: means over the instances, in lists along times.

        An error or a number of a prediction that has grown without bounds is None.
        """
        fields = {}
        for place, field in enumerate(self.fields):
            told: dict[str, Any] = {"mean": {}, "variance": {}, "spectrum": {}}
            for name, moments in self.moments.items():
                means, variances = moments[:, :, place].mean(axis=0).T
                told["mean"][name] = _numbers(means)
                told["variance"][name] = _numbers(variances)
                told["spectrum"][name] = _numbers(self.spectra[name][:, place].mean(axis=0))
            fields[field] = told
        return {
            "times": self.times.tolist(),
            "errors": {
                name: _numbers(mean(values, axis=(0, 2))) for name, values in self.errors.items()
            },
            "fields": fields,
        }


def _moments(values: Array, outside: NDArray[np.bool_]) -> Array:
    """Return mean and variance of each function over its points in the domain, (..., 2)."""
    axes = tuple(range(3, values.ndim))
    points = (~outside).sum(axis=axes)

    def average(of: Array) -> Array:
        return np.asarray(np.where(outside, 0, of).sum(axis=axes) / points)

    first = average(values)
    deviation = values - first.reshape(*first.shape, *[1] * len(axes))
    return np.stack([first, average(np.square(deviation))], axis=-1)


def _spectrum(values: Array, outside: NDArray[np.bool_], coordinates: Sequence[Array]) -> Array:
    """Return the energy by whole number of waves, its mean over the later half, (N, K, W).

    An element of the basis (`kryloset.learn.bands`) counts for the nearest number. So the energies
    of a function add to ∫ u² dx.
    """
    values = values[:, (values.shape[1] - 1) // 2 :]
    basis = Waves(values.shape[3:], coordinates)
    flat = np.where(outside, 0, values).reshape(-1, *values.shape[2:])
    squares = np.square(basis.expand(flat)).reshape(*values.shape[:3], -1).mean(axis=1)
    number = np.rint(basis.numbers).astype(np.int64).ravel()
    parts = [squares[..., number == waves].sum(axis=-1) for waves in range(number.max() + 1)]
    return np.stack(parts, axis=-1)


def _numbers(values: Array) -> list[float | None]:
    """Return numbers as a list, and None for what JSON has no number for."""
    return [float(value) if np.isfinite(value) else None for value in values]
