# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each optimiser and schedule does what its paper says, on functions whose minimum is known."""

from itertools import chain

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from kryloset.learn.averaging import moving_average
from kryloset.learn.batches import Batches
from kryloset.learn.optimisers import make_optimiser, twice_differentiable
from kryloset.learn.real_weights import RealWeights
from kryloset.learn.schedules import make_schedule

#: A rate with which each optimiser moves a weight by more than 1 in 100 steps.
RATES = {"adamw": 0.1, "lion": 0.1, "soap": 0.1, "lbfgs": 1.0, "adahessian": 0.2}


class Quadratic(nn.Module):
    """|a u - b|² of a real and a complex weight u, which is 0 at u = b / a."""

    def __init__(self):
        """Draw the weights."""
        super().__init__()
        torch.manual_seed(0)
        self.real = nn.Parameter(torch.randn(3, 4))
        self.complex = nn.Parameter(torch.randn(2, 3, dtype=torch.complex64))
        self.scale = torch.tensor([1.0, 2.0, 4.0])

    def forward(self):
        """Return the sum of squares."""
        real = self.real * self.scale[:, None] - 1
        rest = self.complex * self.scale - (1 + 2j)
        return real.square().sum() + rest.abs().square().sum()


def descend(quadratic, name, steps, rate):
    model = RealWeights(quadratic)
    optimiser = make_optimiser(name, model.weights, rate=rate, decay=0.0)
    schedule = make_schedule("linear", optimiser, steps=steps, warmup=0)

    def loss():
        optimiser.zero_grad()
        value = model()
        value.backward(create_graph=name == "adahessian")
        return value

    for _ in range(steps):
        if name == "lbfgs":
            optimiser.step(loss)
        else:
            loss()
            optimiser.step()
        schedule.step()
    return quadratic().item()


@pytest.mark.parametrize("name", RATES)
def test_each_optimiser_finds_the_minimum_over_real_and_complex_weights(name):
    assert descend(Quadratic(), name, 200, RATES[name]) < 0.01 * Quadratic()().item()


def test_lbfgs_minimises_a_quadratic_in_a_few_steps():
    assert descend(Quadratic(), "lbfgs", 2, 1.0) < 1e-8


def test_adahessian_differentiates_attention_twice(recwarn):
    torch.manual_seed(0)
    x = torch.randn(1, 1, 5, 2, dtype=torch.float64, requires_grad=True)

    def attend(z):
        return torch.softmax(z @ z.mT / 2**0.5, dim=-1) @ z

    found = []
    for attention in (lambda z: nn.functional.scaled_dot_product_attention(z, z, z), attend):
        with twice_differentiable():
            value = attention(x).square().sum()
            value.backward(create_graph=True)
        found.append(torch.autograd.grad(x.grad.sum(), x)[0])
        x.grad = None
    torch.testing.assert_close(*found)
    assert not recwarn.list


def test_adahessian_divides_by_the_diagonal_of_the_hessian():
    # The Hessian is diagonal, so that its estimate is exact and each weight makes the same step.
    weights = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimiser = make_optimiser("adahessian", [weights], rate=0.1, decay=0.0)
    (torch.tensor([1.0, 10.0, 100.0]) * weights.square()).sum().backward(create_graph=True)
    optimiser.step()
    assert weights.detach().numpy() == pytest.approx(0.9 * np.ones(3), rel=1e-6)


def test_weight_decay_shrinks_weights_without_a_gradient():
    for name in ("adamw", "lion", "soap", "adahessian"):
        weight = nn.Parameter(torch.ones(2, 2))
        optimiser = make_optimiser(name, [weight], rate=0.1, decay=0.5)
        for _ in range(2):  # SOAP's first step only begins its preconditioner
            optimiser.zero_grad()
            (0 * weight.square()).sum().backward(create_graph=True)
            optimiser.step()
        assert weight.max() < 0.96, name


def rates(name, steps, warmup=0):
    weight = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([weight], lr=2.0)
    schedule = make_schedule(name, optimiser, steps=steps, warmup=warmup)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return np.array(found), optimiser.param_groups[0]["lr"]


def test_the_linear_schedule_falls_by_the_same_amount_at_each_step_to_zero():
    found, end = rates("linear", 8)
    assert found == pytest.approx(2 * (1 - np.arange(8) / 8))
    assert end == 0


def test_the_cosine_is_at_half_the_rate_in_the_middle_and_symmetric_about_it():
    found, end = rates("cosine", 8)
    assert found[4] == pytest.approx(1)
    assert found[1:] + found[:0:-1] == pytest.approx(2 * np.ones(7))
    assert end == 0


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_a_warm_up_rises_linearly_and_is_followed_by_the_whole_schedule(name):
    found, _ = rates(name, 10, warmup=3)
    assert found[:3] == pytest.approx([0.5, 1.0, 1.5])
    assert found[3:] == pytest.approx(rates(name, 7)[0])


def test_one_cycle_rises_and_falls():
    found, _ = rates("one_cycle", 20)
    assert found.max() == pytest.approx(2, rel=0.05)
    assert found[-1] < 1e-3 and found[0] < 0.1


def test_the_average_of_constant_weights_is_these_weights():
    module = nn.Linear(3, 2)
    average = moving_average(module, 0.9)
    for _ in range(5):
        average.update_parameters(module)
    assert torch.equal(average.module.weight, module.weight)


def test_statistics_of_batches_are_averaged_like_the_weights():
    module = torch.nn.BatchNorm1d(1)
    average = moving_average(module, 0.9)
    for step in range(300):
        with torch.no_grad():
            module.running_mean.fill_(step)
            module.weight.fill_(step)
            module.num_batches_tracked.fill_(step)
        average.update_parameters(module)
    assert torch.equal(average.module.running_mean, average.module.weight)
    assert average.module.running_mean.item() == pytest.approx(299 - 9, rel=1e-4)
    assert average.module.num_batches_tracked.item() == 299


def test_the_average_forgets_the_first_weights_and_lags_behind_by_its_decay():
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(1, dtype=torch.cfloat))
    average = moving_average(module, 0.9)
    for step in range(300):
        nn.init.constant_(module.weight, step * (1 + 1j))
        average.update_parameters(module)
    # The average of a line lags by d / (1 - d) steps.
    assert average.module.weight.item() == pytest.approx((299 - 9) * (1 + 1j), rel=1e-4)


@pytest.mark.parametrize(
    ("items", "size", "processes"), [(10, 4, 1), (10, 4, 2), (9, 4, 3), (5, 2, 4)]
)
def test_processes_share_each_batch_of_an_epoch(items, size, processes):
    def batches(process, processes):
        generator = torch.Generator().manual_seed(1)
        taken = Batches(items, size, generator, process=process, processes=processes)
        return len(taken), list(taken)

    length, whole = batches(0, 1)
    shares = [batches(process, processes)[1] for process in range(processes)]
    assert sorted(chain(*whole)) == list(range(items))
    assert length == len(whole) == -(-items // size)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert len({len(part) for part in parts}) == 1
        assert set(chain(*parts)) == set(batch)


def test_batches_come_in_the_order_of_a_loader_of_torch_that_shuffles():
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    loader = torch.utils.data.DataLoader(range(10), 4, shuffle=True, generator=first)
    ours = torch.utils.data.DataLoader(range(10), batch_sampler=Batches(10, 4, second))
    for _ in range(2):
        assert [b.tolist() for b in loader] == [b.tolist() for b in ours]
