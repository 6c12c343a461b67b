# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Batch normalisation of batches that several processes share."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(Function):  # type: ignore[misc]
    """The sum over all processes, of which each has a loss that depends on it."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """Return the sum."""
        total = values.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Return the sum of the gradients of the losses, which has a gradient, too."""
        total: Tensor = _Sum.apply(gradient)
        return total


class SharedBatchNorm(_BatchNorm):  # type: ignore[misc]
    """Batch normalisation with the statistics of the whole batch, of which a process has a share.

    `torch.nn.SyncBatchNorm` does the same on GPUs alone.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        """Take any number of axes, as the layer that this one replaces has checked them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised values, with the shape and the precision of x, (N, C, ...)."""
        if not self.training:
            return super().forward(x)
        values, axes = x.float(), [0, *range(2, x.dim())]
        count = torch.full((1,), values.numel() / values.shape[1], device=x.device)
        *_, count = sums = _Sum.apply(torch.cat((values.sum(axes), count)))
        mean = sums[:-1] / count
        shape = (1, -1, *[1] * (x.dim() - 2))
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._note(mean, variance * count / (count - 1).clamp(min=1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        normed = centred * scale.view(shape)
        return (normed + self.bias.view(shape) if self.affine else normed).to(x.dtype)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Move the statistics that are used after the training towards those of a batch."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        count = float(self.num_batches_tracked)
        share = 1 / count if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_statistics(module: nn.Module) -> None:
    """Let all layers of batch normalisation within a module have the statistics of whole batches.

    Their weights stay, and so do their names.

    Args:
        module: Is changed in place. It is no such layer itself.
    """
    for parent in [*module.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, _BatchNorm) and not isinstance(layer, SharedBatchNorm):
                shared = SharedBatchNorm(
                    layer.num_features,
                    layer.eps,
                    layer.momentum,
                    layer.affine,
                    layer.track_running_stats,
                )
                shared.__dict__.update(layer.__dict__)
                setattr(parent, name, shared)
