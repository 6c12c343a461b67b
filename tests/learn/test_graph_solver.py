# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The fixed points of the convergent graph solver are fixed points, and their gradient is exact."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from box_meshes import box_mesh, make_batch, make_task, renumber

from kryloset.errors import KrylosetError
from kryloset.learn.models.fixed_point import fixed_point
from kryloset.learn.models.graph import add_at, mean_at, softmax_at
from kryloset.learn.models.graph_solver import GraphSolver
from kryloset.learn.point_batch import PointBatch

GAMMA = 0.8


def random_maps(heads=3, seed=0):
    """Return entries, sources and ends of maps on a small mesh that contract by GAMMA."""
    batch = make_batch(box_mesh(2, cubes=2))
    ends, count = batch.points.edges, len(batch.x)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(ends.shape[1], heads, generator=generator, dtype=torch.float64)
    source = torch.randn(count, heads, generator=generator, dtype=torch.float64)
    return GAMMA * softmax_at(logits, ends[0], count), source, ends


def dense(values, ends, count):
    """Return the matrices, (heads, count, count)."""
    matrices = values.new_zeros((count, count, values.shape[1]))
    return matrices.index_put((ends[0], ends[1]), values).movedim(-1, 0)


def solve_directly(values, source, ends):
    matrices = dense(values, ends, len(source))
    identity = torch.eye(len(source), dtype=source.dtype)
    return torch.linalg.solve(identity - matrices, source.T[..., None])[..., 0].T


def test_the_fixed_point_is_one_to_the_tolerance():
    values, source, ends = random_maps()
    matrices = dense(values, ends, len(source))
    for tolerance in (1e-2, 1e-6, 1e-10):
        found = fixed_point(values, source, ends, contraction=GAMMA, tolerance=tolerance)
        exact = solve_directly(values, source, ends)
        assert (found - exact).abs().max() <= tolerance * exact.abs().max()
        again = (matrices @ found.T[..., None])[..., 0].T + source
        assert (again - found).abs().max() <= 2 * tolerance * exact.abs().max()


def test_the_implicit_gradient_is_that_of_the_dense_solution():
    values, source, ends = (
        t.requires_grad_() if t.is_floating_point() else t for t in random_maps()
    )
    weights = torch.linspace(-1, 2, source.numel(), dtype=torch.float64).reshape(source.shape)
    gradients = []
    for find in (
        lambda: fixed_point(values, source, ends, contraction=GAMMA, tolerance=1e-12),
        lambda: solve_directly(values, source, ends),
        lambda: unrolled(values, source, ends),
    ):
        loss = (weights * find().square()).sum()
        gradients.append(torch.autograd.grad(loss, (values, source)))
    for other in gradients[1:]:
        for one, same in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-9, atol=1e-9)


def test_sums_of_many_numbers_of_sixteen_bits_are_those_of_32():
    ones, places = torch.ones(3001, 2, dtype=torch.bfloat16), torch.arange(3001) // 3000
    assert add_at(ones, places, 3).tolist() == [[3000.0] * 2, [1.0] * 2, [0.0] * 2]
    assert mean_at(3 * ones, places, 3).tolist() == [[3.0] * 2, [3.0] * 2, [0.0] * 2]


def test_a_second_derivative_is_refused_and_not_left_out():
    values, source, ends = random_maps()
    found = fixed_point(values.requires_grad_(), source, ends, contraction=GAMMA, tolerance=1e-6)
    with pytest.raises(KrylosetError, match=r"no second derivative: take another training\.opt"):
        found.square().sum().backward(create_graph=True)


def unrolled(values, source, ends):
    """Return the fixed point by steps that autograd stores."""
    matrices, state = dense(values, ends, len(source)), torch.zeros_like(source)
    for _ in range(130):  # 0.8^130 < 1e-12
        state = (matrices @ state.T[..., None])[..., 0].T + source
    return state


def test_the_implicit_gradient_is_the_quotient_of_differences():
    values, source, ends = random_maps(heads=1)
    tensors = (values.requires_grad_(), source.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda a, b: fixed_point(a, b, ends, contraction=GAMMA, tolerance=1e-13), tensors
    )


def make_solver(dimension=2, **settings):
    torch.manual_seed(0)
    chosen = GraphSolver.Settings(width=8, layers=2, heads=3, **settings)
    return GraphSolver(chosen, make_task(dimension)).double()


def in_double(batch):
    points = batch.points
    return batch.x.double(), type(points)(
        points.positions.double(), points.instance, points.count, points.edges
    )


@pytest.mark.parametrize("contraction", [0.3, 0.99])
def test_maps_contract_and_fixed_points_are_within_the_range_of_what_is_added(contraction):
    solver = make_solver(contraction=contraction)
    x, points = in_double(make_batch(box_mesh(2)))
    random = np.random.default_rng(0)
    nodes, edges = (
        torch.from_numpy(20 * random.standard_normal((n, 8)))
        for n in (len(x), points.edges.shape[1])
    )
    values, source = solver.maps(nodes, edges, points.edges)
    sums = torch.zeros(len(x), 3, dtype=values.dtype).index_add(0, points.edges[0], values.abs())
    assert sums.max() <= contraction
    states = fixed_point(values, source, points.edges, contraction=contraction, tolerance=1e-8)
    given = source / (1 - sums)
    assert (states.amax(0) <= given.amax(0) + 1e-6).all()
    assert (states.amin(0) >= given.amin(0) - 1e-6).all()


def test_other_numbers_of_the_nodes_give_the_same_function():
    solver = make_solver()
    x, points = in_double(make_batch(box_mesh(2)))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(solver(*renumber(x, points, order)), solver(x, points)[order])


def test_instances_of_a_batch_do_not_know_of_each_other():
    solver = make_solver()
    parts = [make_batch(box_mesh(2, cubes=n), seed=n) for n in (2, 3)]
    alone = torch.cat([solver(*in_double(part)) for part in parts])
    torch.testing.assert_close(solver(*in_double(PointBatch.join(parts))), alone)


def test_a_fixed_point_reaches_where_messages_do_not():
    """A change at one node is seen at all others, across more edges than there are steps."""
    x, points = in_double(make_batch(box_mesh(1, cubes=20)))
    solver = make_solver(dimension=1, tolerance=1e-12)
    changed = x.clone()
    changed[0] += 1
    difference = (solver(changed, points) - solver(x, points)).abs().amax(1)
    assert difference.min() > 0
    assert difference[-1] < difference[0]
