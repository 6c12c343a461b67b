# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Batch normalisation of shared batches is torch's own where one process has the whole batch."""

import pytest

pytest.importorskip("torch")

import torch
from torch import distributed, nn

from kryloset.learn.batch_statistics import share_statistics


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}],
)
def test_values_gradients_and_statistics_are_those_of_torch(alone, settings):
    shared, usual = (nn.Sequential(nn.BatchNorm2d(3, **settings), nn.Flatten()) for _ in range(2))
    share_statistics(shared)
    assert type(shared[0]) is not nn.BatchNorm2d
    x = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    found = []
    for module in (shared, usual):
        given = (3 * x + 1).requires_grad_()
        for _ in range(2):
            y = module(given)
        (gradient,) = torch.autograd.grad((y**3).sum(), given, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), given)
        # They would keep the graphs of all steps in memory.
        assert not any(buffer.requires_grad for buffer in module.buffers())
        later = module.eval()(given)
        found.append([y, gradient, second, later, *module.buffers()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
