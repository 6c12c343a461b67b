# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Theorems on Transolver."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.errors import ConfigError
from kryloset.learn.models.base import OnGrid, Points, Task
from kryloset.learn.models.transolver import Transolver

SIZES = (5, 3, 7)


#: A square, and a torus.
SQUARE, TORUS = (
    Task(("k", "f"), ("u",), (np.linspace(0, 2, 7)[:count],) * 2, (periodic,) * 2, 2)
    for count, periodic in ((7, False), (6, True))
)


def make(task: Task = SQUARE, **settings) -> Transolver:
    """Return a tiny network with weights of usual size, in double precision."""
    torch.manual_seed(0)
    small = {"width": 8, "layers": 2, "heads": 2, "slices": 3, "reference": 2}
    network = Transolver(Transolver.Settings(**small | settings), task).double()
    for name, weights in network.named_parameters():
        if not name.endswith("temperature"):
            torch.nn.init.normal_(weights, std=0.5)
    return network


def cloud(sizes: tuple[int, ...] = SIZES) -> tuple[torch.Tensor, Points]:
    """Return inputs and points of several instances."""
    generator = torch.Generator().manual_seed(1)
    x, positions = torch.rand(2, sum(sizes), 2, generator=generator, dtype=torch.float64)
    instance = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return x, at(positions, instance, len(sizes))


def at(positions: torch.Tensor, instance: torch.Tensor, count: int) -> Points:
    edges = torch.zeros(2, 0, dtype=torch.int64)
    return Points(positions=positions, instance=instance, count=count, edges=edges)


def test_the_weights_of_slices_add_up_to_one_at_every_point():
    attention = make().layers[0].attention
    weights = attention.weigh(torch.randn(2, 7, 8, dtype=torch.float64), None)
    assert weights.shape == (2, 2, 7, 3) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 7, dtype=torch.float64))
    assert weights.std() > 0.01


@pytest.mark.parametrize("reference", [0, 2])
def test_outputs_are_permuted_as_the_points_are(reference: int):
    network, (x, points) = make(reference=reference), cloud()
    order = torch.cat([start + torch.randperm(size) for start, size in ((0, 5), (5, 3), (8, 7))])
    permuted = network(x[order], at(points.positions[order], points.instance, 3))
    torch.testing.assert_close(permuted, network(x, points)[order])
    elsewhere = at(points.positions.flip(0), points.instance, 3)
    assert not torch.allclose(network(x, elsewhere), network(x, points))


def test_outputs_of_an_instance_do_not_depend_on_the_others_of_the_batch():
    network, (x, points) = make(), cloud()
    whole = network(x, points)
    for number, (start, size) in enumerate(((0, 5), (5, 3), (8, 7))):
        own = slice(start, start + size)
        alone = at(points.positions[own], points.instance[own] - number, 1)
        torch.testing.assert_close(network(x[own], alone), whole[own])
    # Nor do their gradients: padding has none, and nothing is not a number.
    x.requires_grad_()
    network(x, points)[:5].sum().backward()
    assert (x.grad[:5] != 0).all() and (x.grad[5:] == 0).all()


def test_points_that_are_all_there_twice_change_nothing():
    """A slice is the mean of its points, so that their number does not matter."""
    network, (x, points) = make(), cloud()
    twice = at(points.positions.repeat_interleave(2, 0), points.instance.repeat_interleave(2), 3)
    doubled = network(x.repeat_interleave(2, 0), twice)
    torch.testing.assert_close(doubled[::2], network(x, points))
    torch.testing.assert_close(doubled[1::2], doubled[::2])


def test_on_a_grid_it_knows_where_points_are():
    network, x = OnGrid(make(), SQUARE), torch.randn(2, 2, 7, 7, dtype=torch.float64)
    u = network(x)
    assert u.shape == (2, 1, 7, 7)
    assert not torch.allclose(network(x.flip(2)), u.flip(2))


def test_convolutions_see_neighbours_and_no_border_of_a_periodic_grid():
    inner = make(TORUS, kernel=3, layers=1)
    with torch.no_grad():
        # Without coordinates, shifts commute with convolutions and with the attention.
        inner.lift[0].weight[:, :4] = 0
    network, x = OnGrid(inner, TORUS), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    u = network(x)
    torch.testing.assert_close(network(x.roll(2, dims=3)), u.roll(2, dims=3))
    # A permutation that separates neighbours does not.
    mixed = [0, 2, 4, 1, 3, 5]
    assert not torch.allclose(network(x[..., mixed]), u[..., mixed])


def test_convolutions_are_refused_where_there_is_no_grid():
    x, points = cloud()
    with pytest.raises(ConfigError, match=r"kernel 3 .* needs a grid"):
        make(kernel=3)(x, points)
    lines = (np.linspace(0, 1, 5),)
    with pytest.raises(ConfigError, match=r"kernel 3 .* needs a grid"):
        Transolver(Transolver.Settings(kernel=3), Task(("k", "inside"), ("u",), lines, (False,), 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"width": 10, "heads": 4}, "not a multiple of heads 4"), ({"kernel": 2}, "take an odd")],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Transolver.Settings(**settings)
