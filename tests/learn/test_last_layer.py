# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a last layer does not know, as a Gaussian process tells it, and where it is found."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from own_models import Pointwise
from torch import nn

from kryloset.errors import DataError
from kryloset.learn.last_layer import RIDGE, SKETCH, LastLayer, choose_by_variance
from kryloset.learn.models.base import GridModel, OnGrid, Task
from kryloset.learn.models.registry import MODELS, model_class, read_settings
from kryloset.learn.operator import Operator
from kryloset.learn.scaling import Scaling

AXES = (np.linspace(0, 1, 9), np.linspace(0, 1, 12))
TASK = Task(("k", "f"), ("u",), AXES, (False, False), 2)

#: Settings of networks whose defaults do not suit so few points.
SMALL = {
    "fno": {"width": 4, "modes": 4, "layers": 1},
    "tfno": {"width": 4, "modes": 4, "layers": 1, "rank": 0.5},
    "uno": {"width": 4, "modes": 4},
    "stagger": {"settings": {"width": 4, "modes": 4, "layers": 1}},
}


def make_operator(network) -> Operator:
    network = network if isinstance(network, GridModel) else OnGrid(network, TASK)
    return Operator(Scaling([False] * 2, [(0.0, 1.0)] * 2, [(0.0, 1.0)], 2), network).eval()


def build(name) -> Operator:
    torch.manual_seed(0)
    kind = model_class(name)
    return make_operator(kind(read_settings(kind, name, SMALL.get(name, {})), TASK))


def test_the_choice_is_that_of_a_gaussian_process():
    generator = np.random.default_rng(0)
    known, pool = generator.normal(size=(3, 6)), generator.normal(size=(20, 6))

    def grams(features):
        return features[:, :, None] * features[:, None, :]

    chosen: list[int] = []
    noise = RIDGE * np.square(pool).sum(axis=1).mean()
    for _ in range(3):
        seen = np.concatenate((known, pool[chosen]))
        across = pool @ seen.T
        kept = across @ np.linalg.solve(seen @ seen.T + noise * np.eye(len(seen)), across.T)
        variance = np.square(pool).sum(axis=1) - np.diag(kept)
        variance[chosen] = -np.inf
        chosen.append(int(np.argmax(variance)))
    found = choose_by_variance(grams(known), grams(pool), 3)
    assert found.tolist() == sorted(chosen)


def test_what_was_learnt_and_what_is_chosen_already_is_not_chosen():
    one, two, three = (np.outer(axis, axis) for axis in np.eye(3))
    candidates = np.stack([5 * one, 2 * two, 2 * two, three])
    known = 100 * one[None]
    assert choose_by_variance(known, candidates, 2).tolist() == [1, 3]
    assert choose_by_variance(known[:0], candidates, 2).tolist() == [0, 1]
    assert choose_by_variance(known, candidates, 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", MODELS)
def test_each_network_has_a_last_layer_that_makes_its_outputs(name):
    operator = build(name)
    x = torch.rand(3, 2, 9, 12) + 0.5
    layer = LastLayer(operator, x)
    grams = layer.grams(x)
    size = min(SKETCH, layer._layer.weight.shape[1]) + (layer._layer.bias is not None)
    assert grams.shape == (3, size, size) and np.isfinite(grams).all()
    assert not np.allclose(grams[0], grams[1], rtol=1e-5)
    # All of an operator's variance is in the last layer's inputs: with weights 0 its outputs are
    # those of the biases.
    with torch.no_grad():
        layer._layer.weight.zero_()
        nothing = operator(x)
    torch.testing.assert_close(nothing[0], nothing[1])


def test_features_of_a_layer_are_the_means_over_points():
    torch.manual_seed(0)
    operator = make_operator(Pointwise(Pointwise.Settings(width=3), TASK))
    x = torch.rand(2, 2, 9, 12)
    with torch.no_grad():
        hidden = operator.network.first(x).tanh().double()
        u = operator(x).double()
    features = torch.cat((hidden, torch.ones(2, 1, 9, 12)), dim=1)
    expected = (
        torch.einsum("ncxy,ndxy->ncd", features, features)
        / u.square().sum((1, 2, 3))[:, None, None]
    )
    np.testing.assert_allclose(LastLayer(operator, x).grams(x), expected, rtol=1e-5)


def test_a_network_without_layers_is_refused():
    class Factors(GridModel):
        """A factor for each channel."""

        def __init__(self):
            super().__init__()
            self.factors = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return torch.einsum("c,ncxy->nxy", self.factors, x)[:, None]

    with pytest.raises(DataError, match="Factors has no linear layer"):
        LastLayer(make_operator(Factors()), torch.rand(2, 2, 9, 12))
