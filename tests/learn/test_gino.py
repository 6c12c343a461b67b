# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The kernel integrals of GINO are those of neuraloperator, for several meshes at once."""

import pytest

pytest.importorskip("torch")

import torch
from box_meshes import box_mesh, make_batch, make_task, renumber
from neuralop.layers.channel_mlp import LinearChannelMLP
from neuralop.layers.integral_transform import IntegralTransform
from neuralop.layers.neighbor_search import native_neighbor_search

from kryloset.learn.models.gino import GINO
from kryloset.learn.models.kernel_integral import Balls, KernelIntegral
from kryloset.learn.point_batch import PointBatch

COUNT, RADIUS = 5, 1.3


def find(batch, periodic=(False, False)):
    return Balls.find(batch.points, COUNT, RADIUS, periodic)


def search(data, queries):
    """Return the neighbours that neuraloperator finds; no pair is at the radius."""
    return native_neighbor_search(data, queries, RADIUS / COUNT)


def test_pairs_are_those_of_a_search_among_all():
    batch = make_batch(box_mesh(2, cubes=6))
    balls = find(batch)
    found = search(batch.points.positions, balls.centres)
    order = torch.argsort(balls.cell * len(batch.x) + balls.near)
    assert torch.equal(balls.near[order], found["neighbors_index"])
    counts = torch.bincount(balls.cell, minlength=COUNT**2)
    assert torch.equal(counts, found["neighbors_row_splits"].diff())


@pytest.mark.parametrize("to_grid", [True, False])
def test_kernel_integrals_are_those_of_neuraloperator(to_grid):
    batch, width = make_batch(box_mesh(2, cubes=6)), 4
    balls = find(batch)
    torch.manual_seed(0)
    own = KernelIntegral(2, width)
    # The kernel of the library sees (y, x), and this one (y, (x - y) / r).
    kernel = LinearChannelMLP([4, width, width])
    first, _, second = own.kernel
    radius, linear = RADIUS / COUNT, first.weight.detach()
    turned = torch.cat((linear[:, :2] - linear[:, 2:] / radius, linear[:, 2:] / radius), dim=1)
    pairs = ((turned, first.bias), (second.weight, second.bias))
    for layer, (weight, bias) in zip(kernel.fcs, pairs, strict=True):
        layer.weight.data, layer.bias.data = weight.detach(), bias.detach()
    transform = IntegralTransform(
        kernel, transform_type="linear", reduction="mean", use_torch_scatter=False
    )
    here, there = batch.points.positions, balls.centres
    if not to_grid:
        here, there = there, here
    values = torch.randn(len(here), width)
    with torch.no_grad():
        expected = transform(here, search(here, there), there, values)
        found = (own.to_grid if to_grid else own.to_points)(values, balls)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_every_point_has_a_latent_point_and_periodic_ones_on_both_sides():
    batch = make_batch(box_mesh(2, cubes=6, periodic=True))
    for periodic in (False, True):
        balls = find(batch, (periodic, False))
        assert len(balls.near.unique()) == len(batch.x)
        first = balls.cell[balls.near == 0] // COUNT
        assert set(first.tolist()) == ({0, COUNT - 1} if periodic else {0})
        assert balls.towards.norm(dim=1).max() <= 1


def make_gino(dimension=2):
    torch.manual_seed(0)
    return GINO(GINO.Settings(latent=4, modes=2, width=4, layers=1), make_task(dimension))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_other_numbers_of_the_nodes_give_the_same_function(dimension):
    batch, network = make_batch(box_mesh(dimension, cubes=2)), make_gino(dimension)
    order = torch.randperm(len(batch.x), generator=torch.Generator().manual_seed(0))
    found = network(*renumber(batch.x, batch.points, order))
    torch.testing.assert_close(found, network(batch.x, batch.points)[order], rtol=1e-4, atol=1e-5)


def test_instances_of_a_batch_do_not_know_of_each_other():
    parts, network = [make_batch(box_mesh(2, cubes=n), seed=n) for n in (2, 4)], make_gino()
    alone = torch.cat([network(part.x, part.points) for part in parts])
    joined = PointBatch.join(parts)
    torch.testing.assert_close(network(joined.x, joined.points), alone, rtol=1e-4, atol=1e-5)
