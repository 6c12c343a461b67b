# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The scaling of pairs of functions for a network."""

from collections.abc import Callable, Iterable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.learn.batches import spread
from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.states import States

type Array = NDArray[np.float64]

#: Pairs of states that are read, of which more hardly change the numbers.
MOST = 4000


class Scaling(nn.Module):  # type: ignore[misc]
    """The scaling between physical functions and those of a network, channel by channel.

    Inputs are scaled by x -> (t(x) - m) / s, where t is the logarithm for a positive coefficient
    and otherwise the identity. Outputs are scaled back by z -> m + s z. The mean m and standard
    deviation s are taken over all points in the domain of all instances of the training split.
    They are buffers, so they are part of a model's weights.

    Where some of the inputs are states of a trajectory, outputs are what is added to the last of
    them, so m and s are those of that difference.

    A mask of the domain is not scaled. Where there is one, the other inputs are 0 at points
    outside the domain.

    Args:
        logarithmic: Whether t is the logarithm, for each input channel.
        inputs: m and s of each input channel, after t.
        outputs: m and s of each output channel.
        axes: Number of axes of the grid; none for functions on points.
        masked: Whether the last input channel is the mask.
        states: Which of the input channels are states, if any are.
    """

    logarithmic: Tensor
    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(
        self,
        logarithmic: Iterable[bool],
        inputs: Iterable[tuple[float, float]],
        outputs: Iterable[tuple[float, float]],
        axes: int,
        *,
        masked: bool = False,
        states: States | None = None,
    ) -> None:
        """Store the means and deviations in shapes that broadcast over the grid."""
        super().__init__()
        self.masked = masked
        self.states = states
        means_in, stds_in = zip(*inputs, strict=True)
        means_out, stds_out = zip(*outputs, strict=True)
        numbers = {
            "logarithmic": torch.tensor(tuple(logarithmic)),
            "input_mean": torch.tensor(means_in),
            "input_std": torch.tensor(stds_in),
            "output_mean": torch.tensor(means_out),
            "output_std": torch.tensor(stds_out),
        }
        for name, values in numbers.items():
            self.register_buffer(name, values.reshape(-1, *[1] * axes))

    @classmethod
    def fit(cls, pairs: FieldPairs | MeshPairs) -> Self:
        """Compute the means and deviations in one pass over the training split.

        Points count equally, also the nodes of meshes. Of pairs along trajectories, `MOST` evenly
        spaced ones are read, or one of each trajectory, if these are more.

        Raises:
            DataError: A parameter with a logarithmic transform is not positive.
        """
        inputs = [Moments() for _ in pairs.inputs]
        outputs = [Moments() for _ in pairs.outputs]
        transforms: list[Callable[[Array], Array]] = [
            np.log if logarithmic else np.asarray for logarithmic in pairs.logarithmic
        ]
        starts = len(pairs) // len(pairs.instances)
        for item in spread(len(pairs), max(MOST, len(pairs.instances))):
            x, y = pairs.columns(item)
            for name, transform, moments, values in zip(
                pairs.inputs, transforms, inputs, x, strict=True
            ):
                if transform is np.log and values.min() <= 0:
                    instance = pairs.instances[item // starts]
                    raise DataError(
                        f"{pairs.path}: `{name}` of instance {instance} is not positive "
                        'everywhere, so it cannot have the transform "log"; correct it '
                        "in the family's Variable"
                    )
                moments.add(transform(values))
            if pairs.states:
                y = y - x[pairs.states.latest]
            for moments, values in zip(outputs, y, strict=True):
                moments.add(values)
        scales = [_mean_and_scale(moments) for moments in inputs]
        if pairs.masked:
            scales[-1] = (0.0, 1.0)
        return cls(
            pairs.logarithmic,
            scales,
            [_mean_and_scale(moments) for moments in outputs],
            len(pairs.grid),
            masked=pairs.masked,
            states=pairs.states,
        )

    @property
    def deviations(self) -> Array:
        """Standard deviation of each field over the training split, (K,)."""
        std = self.input_std[self.states.latest] if self.states else self.output_std
        return np.asarray(std.cpu().numpy().ravel())

    def encode(self, x: Tensor) -> Tensor:
        """Return scaled inputs for the network from physical inputs (N, C, *grid)."""
        if not self.masked:
            return self._scale(x)
        inside = x[:, -1:] != 0
        # `where` is applied twice, for the same reason as below.
        return torch.where(inside, self._scale(torch.where(inside, x, 1)), 0)

    def _scale(self, x: Tensor) -> Tensor:
        # `where` is applied twice: the gradient of log is NaN where another channel is negative.
        positive = torch.where(self.logarithmic, x, 1)
        return (torch.where(self.logarithmic, positive.log(), x) - self.input_mean) / self.input_std

    def decode(self, z: Tensor) -> Tensor:
        """Return physical outputs (N, K, *grid), or differences, from the network's outputs."""
        return self.output_mean + self.output_std * z


def _mean_and_scale(moments: Moments) -> tuple[float, float]:
    summary = moments.summary()
    # A constant channel carries no information: any scale will do but 0, and but that of rounding,
    # by which numbers of other types would be far from the mean.
    constant = summary["std"] <= np.finfo(np.float32).eps * abs(summary["mean"])
    return summary["mean"], 1.0 if constant else summary["std"]
