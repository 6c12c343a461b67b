# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Losses, errors, scaling and predictions ignore points outside the domain."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reaction_data import make_data

from kryloset.errors import DataError
from kryloset.learn.baselines import fit_linear, fit_mean
from kryloset.learn.data import FieldPairs
from kryloset.learn.losses import make_loss
from kryloset.learn.measuring import measure
from kryloset.learn.metrics import relative_h1, relative_l2
from kryloset.learn.models.fno import FNO
from kryloset.learn.norms import derive, square_h1, square_l2
from kryloset.learn.operator import Operator, build_network, describe, load_model
from kryloset.learn.scaling import Scaling
from kryloset.run import evaluate, train

#: Not equidistant along y.
GRID = (np.linspace(0, 2, 9), np.linspace(0, 1, 12) ** 1.5)
X, Y = np.meshgrid(*GRID, indexing="ij")
HOLE = np.maximum(abs(X - 1), abs(2 * Y - 1)) < 0.3


def functions(seed, fields=2):
    """Return three instances of smooth functions that are NaN in a hole."""
    phases = np.random.default_rng(seed).random((3, fields, 2, 1, 1))
    return np.where(HOLE, np.nan, 2 + np.sin(X + 6 * phases[:, :, 0]) * np.cos(3 * Y))


def fill(values, outside, seed):
    """Return the functions with other values outside the domain."""
    random = np.random.default_rng(seed)
    return np.where(outside, random.choice([0, 1e9, -3, np.nan, np.inf], values.shape), values)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["l2", "h1"]))
@settings(max_examples=20)
def test_predictions_outside_the_domain_change_no_error_or_gradient(seed, norm):
    truth = functions(0)
    prediction = functions(1)
    other = fill(prediction, HOLE, seed)
    expected, found = measure(prediction, truth, GRID), measure(other, truth, GRID)
    for name, errors in expected.items():
        assert np.isfinite(errors).all()
        np.testing.assert_array_equal(found[name], errors)
    loss, goal = make_loss(norm, GRID), torch.from_numpy(truth)
    tensors = [torch.from_numpy(p).requires_grad_() for p in (prediction, other)]
    losses = [loss(tensor, goal) for tensor in tensors]
    assert losses[0] == losses[1]
    for value in losses:
        value.backward()
    assert torch.equal(tensors[0].grad, tensors[1].grad)
    assert (tensors[1].grad[..., torch.from_numpy(HOLE)] == 0).all()


@pytest.mark.parametrize("norm", ["l2", "h1"])
def test_a_nan_inside_the_domain_gives_an_infinite_error(norm):
    truth, prediction = functions(0), functions(1)
    prediction[0, 0, 0, 0] = np.nan
    loss = make_loss(norm, GRID)(torch.from_numpy(prediction), torch.from_numpy(truth))
    assert not torch.isfinite(loss)
    errors = measure(prediction, truth, GRID)
    assert (errors.pop("high") == 0).all()  # The grid has no waves so short.
    assert all(np.isinf(values[0, 0]) for values in errors.values())


def test_the_h1_loss_is_the_mean_h1_error():
    prediction, truth = functions(0), functions(1)
    loss = make_loss("h1", GRID)(torch.from_numpy(prediction), torch.from_numpy(truth))
    assert float(loss) == pytest.approx(relative_h1(prediction, truth, GRID).mean(), rel=1e-12)


def test_derivatives_on_a_full_grid_equal_those_of_numpy():
    values = np.nan_to_num(functions(3))
    for axis, points in zip((2, 3), GRID, strict=True):
        found = derive(torch.from_numpy(values), torch.from_numpy(points), axis)
        expected = np.gradient(values, points, axis=axis, edge_order=2)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_derivatives_of_quadratic_functions_are_exact_beside_a_hole():
    values = torch.from_numpy(np.where(HOLE, np.nan, X**2 - 3 * X * Y + Y**2))
    for axis, exact in ((0, 2 * X - 3 * Y), (1, 2 * Y - 3 * X)):
        found = derive(values, torch.from_numpy(GRID[axis]), axis).numpy()
        np.testing.assert_allclose(found[~HOLE], exact[~HOLE], atol=1e-10)


def test_derivatives_with_few_neighbours():
    """Two points give their difference, and a single point gives 0."""
    line = torch.tensor([torch.nan, 1.0, 3.0, torch.nan, 5.0, torch.nan])
    found = derive(line, torch.arange(6.0), 0)
    assert found[[1, 2, 4]].tolist() == [2, 2, 0]


def test_the_error_of_a_constant_is_exact_beside_a_hole():
    """A function that is a constant on the domain has the error of that constant."""
    truth = np.where(HOLE, np.nan, 2.0)[None, None]
    for norm in (relative_l2, relative_h1):
        np.testing.assert_allclose(norm(truth + 1, truth, GRID), 0.5, rtol=1e-12)


def test_norms_on_a_periodic_axis_are_exact_for_waves_and_know_no_beginning():
    """The integral of sin^2 is 1/2; differences of second order have a known factor."""
    x = np.arange(12) / 12
    closed = (np.append(x, 1.0), np.linspace(0, 1, 3))
    wave = np.repeat(np.sin(2 * np.pi * x + 0.3)[:, None], 3, axis=1)[None, None]
    axes = [torch.from_numpy(points) for points in closed]
    outside = torch.zeros(wave.shape, dtype=torch.bool)
    slope = np.sin(2 * np.pi / 12) * 12
    for shift in (0, 5):
        values = torch.from_numpy(np.roll(wave, shift, axis=2))
        assert float(square_l2(values, outside, axes)) == pytest.approx(1 / 2, rel=1e-12)
        found = float(square_h1(values, outside, axes))
        assert found == pytest.approx((1 + slope**2) / 2, rel=1e-12)


@pytest.fixture(scope="module", params=["shared", "own"])
def masked(request, tmp_path_factory):
    """A dataset in which the lower half, or another corner for each instance, is outside."""
    path = tmp_path_factory.mktemp(request.param) / "dataset.h5"
    x, y = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 2, 11), indexing="ij")
    masks = [np.full(x.shape, True) & (y > 0.9)] * 40
    if request.param == "own":
        masks = [x + y > 0.02 * i for i in range(40)]
    return make_data(path, masks=masks), masks


def test_pairs_have_the_mask_last_and_NaN_outside(masked):
    data, masks = masked
    pairs = FieldPairs(data.path, "train")
    assert pairs.masked
    assert pairs.inputs[-1] == "inside"
    for item, instance in enumerate(pairs.instances):
        x, y = pairs.arrays(item)
        np.testing.assert_array_equal(x[-1], masks[instance])
        np.testing.assert_array_equal(np.isnan(y[0]), ~masks[instance])


def test_scaling_uses_points_inside_and_encodes_those_outside_as_zero(masked):
    data, masks = masked
    pairs = FieldPairs(data.path, "train")
    scaling = Scaling.fit(pairs)
    inside = np.stack([masks[instance] for instance in pairs.instances])
    x, y = pairs.stack(range(len(pairs)))
    assert float(scaling.output_mean) == pytest.approx(y[:, 0][inside].mean(), rel=1e-5)
    encoded = scaling.encode(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(encoded[:, -1], inside)
    for channel in (0, 1):
        score = encoded[:, channel][inside]
        assert score.mean() == pytest.approx(0, abs=1e-5)
        assert score.std() == pytest.approx(1, rel=1e-5)
        assert (encoded[:, channel][~inside] == 0).all()


def test_inputs_outside_the_domain_change_no_output(masked):
    data, _ = masked
    pairs = FieldPairs(data.path, "train")
    torch.manual_seed(0)
    network = build_network(describe(pairs, data.config.training, FNO), FNO)
    operator = Operator(Scaling.fit(pairs), network)
    x = torch.stack([pairs[item]["x"] for item in range(3)])
    outside = (x[:, -1:] == 0).expand(-1, len(pairs.inputs) - 1, -1, -1)
    other = x.clone()
    other[:, :-1][outside] = torch.tensor([-1.0, torch.nan, 0.0]).repeat(outside.sum())[
        : outside.sum()
    ]
    first, second = operator(x), operator(other)
    assert torch.equal(first.isnan(), x[:, -1:] == 0)
    assert torch.equal(first.nan_to_num(), second.nan_to_num())
    make_loss("h1", pairs.coordinates)(second, pairs[0]["y"][None].expand(3, -1, -1, -1)).backward()
    assert all(torch.isfinite(w.grad).all() for w in network.parameters() if w.grad is not None)


def test_baselines_use_only_points_inside_the_domain(masked):
    data, _ = masked
    train_pairs, valid = (FieldPairs(data.path, split) for split in ("train", "valid"))
    known = [pairs.stack(range(len(pairs))) for pairs in (train_pairs, valid)]
    (x, y), _ = known
    scale = 1 / np.nansum(y**2, axis=(1, 2, 3), keepdims=True)
    inside = ~np.isnan(y)
    total = (scale * inside).sum(axis=0)
    expected = np.nansum(scale * y, axis=0) / np.where(total, total, 1)
    mean, linear = fit_mean(x, y), fit_linear(*known)
    np.testing.assert_allclose(mean(x[:1])[0], expected, rtol=1e-10)
    for predictor in (mean, linear):
        errors = relative_l2(predictor(x), y, train_pairs.coordinates)
        assert np.isfinite(errors).all()


def test_a_masked_dataset_is_trained_on_and_evaluated(masked, tmp_path):
    data, _ = masked
    model, metrics = tmp_path / "model.pt", tmp_path / "metrics.json"
    for loss in ("l2", "h1"):
        training = data.config.training.model_copy(update={"loss": loss, "epochs": 2})
        config = data.config.model_copy(update={"training": training})
        train.run(config, data=data.path, model=model, history=tmp_path / "history.json")
        evaluate.run(model, data=data.path, metrics=metrics)
        assert "NaN" not in metrics.read_text()
        assert "NaN" not in (tmp_path / "history.json").read_text()
    loaded = load_model(model)
    pair = FieldPairs(data.path, "test")[0]
    with torch.no_grad():
        u = loaded(pair["x"][None])[0]
    assert torch.equal(u.isnan(), pair["y"].isnan())


def test_a_model_that_knows_no_mask_is_not_measured_on_points_outside(masked, data, tmp_path):
    model = tmp_path / "model.pt"
    train.run(data.config, data=data.path, model=model, history=tmp_path / "history.json")
    with pytest.raises(DataError, match="points outside of the domain, of which the model"):
        evaluate.run(model, data=masked[0].path, metrics=tmp_path / "metrics.json")
