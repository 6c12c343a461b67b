# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Theorems on DeepONet."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.learn.models.base import Task
from kryloset.learn.models.deeponet import DeepONet


def make(periodic: tuple[bool, ...] = (False, False), outputs: int = 2, **settings) -> DeepONet:
    """Return a tiny network on a grid of 5 points a side, in double precision."""
    torch.manual_seed(0)
    lines = tuple(np.linspace(0, 2, 6 if p else 5)[:5] for p in periodic)
    names = tuple("uvw"[:outputs])
    task = Task(("k", "f"), names, lines, periodic, len(periodic))
    small = {"sensors": 4, "terms": 3, "width": 6}
    network = DeepONet(DeepONet.Settings(**small | settings), task).double()
    torch.nn.init.normal_(network.bias)
    return network


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_outputs_are_linear_in_the_coefficients_of_the_branch_and_in_the_functions_of_the_trunk():
    network = make()
    (a, b), (f, g) = draw(2, 4, 2, 3), draw(2, 7, 2, 3)
    combine, bias = network.combine, network.bias
    left = combine(2 * a - 3 * b, f) - bias
    torch.testing.assert_close(left, 2 * (combine(a, f) - bias) - 3 * (combine(b, f) - bias))
    left = combine(a, 2 * f - 3 * g) - bias
    torch.testing.assert_close(left, 2 * (combine(a, f) - bias) - 3 * (combine(a, g) - bias))


def test_with_a_linear_branch_outputs_are_affine_in_the_inputs():
    network = make(branch_layers=1)
    x, y = draw(2, 3, 2, 5, 5)
    torch.testing.assert_close(network(2 * x - y), 2 * network(x) - network(y))
    curved = make(branch_layers=2)
    assert not torch.allclose(curved(2 * x - y), 2 * curved(x) - curved(y))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_function_has_the_same_outputs_on_every_grid(dimensions: int):
    """The function is linear along each axis, so that sensors find it exactly."""
    network = make((False,) * dimensions)
    corners = draw(2, 2, *[2] * dimensions)

    def on_grid(points: int) -> torch.Tensor:
        mode = ("linear", "bilinear", "trilinear")[dimensions - 1]
        size = [points] * dimensions
        return torch.nn.functional.interpolate(corners, size, mode=mode, align_corners=True)

    coarse, fine = network(on_grid(5)), network(on_grid(9))
    torch.testing.assert_close(fine[(..., *[slice(None, None, 2)] * dimensions)], coarse)
    assert torch.equal(network(on_grid(5)), coarse)


def test_outputs_at_points_are_those_of_the_grid_there():
    network, x = make(), draw(3, 2, 5, 5)
    points = torch.tensor([[0.25, 1.0], [0.5, 0.0]], dtype=torch.float64)
    whole = network(x)
    expected = torch.stack((whole[:, :, 1, 4], whole[:, :, 2, 0]), dim=-1)
    torch.testing.assert_close(network.at(points, x), expected)


def test_outputs_of_a_periodic_axis_are_periodic_and_inputs_too():
    network, x = make((True, False)), draw(3, 2, 5, 5)
    ends = torch.tensor([[0.0, 0.3], [1.0, 0.3], [0.2, 0.3]], dtype=torch.float64)
    first, last, inner = network.at(ends, x).unbind(-1)
    torch.testing.assert_close(first, last)
    assert not torch.allclose(first, inner)
    # Sensors at fractions 0, 1/4, 1/2, 3/4 of the period, between points at fifths of it.
    sensed = network.sense(x)[:, :, :, 0]
    here, there = x[:, :, [0, 1, 2, 3], 0], x[:, :, [1, 2, 3, 4], 0]
    share = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(sensed, (1 - share) * here + share * there)


def test_each_output_has_a_bias_and_terms_of_its_own():
    network, x = make(outputs=3), draw(2, 2, 5, 5)
    before = network(x)
    with torch.no_grad():
        network.bias[1] += 1
        network.branch[-1].weight[6:].zero_()  # those of the last output
        network.branch[-1].bias[6:].zero_()
    after = network(x)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    torch.testing.assert_close(after[:, 1], before[:, 1] + 1)
    torch.testing.assert_close(after[:, 2], network.bias[2].expand_as(after[:, 2]))
