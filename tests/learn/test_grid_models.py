# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""U-Net, Latent Spectral Model, U-FNO and NeuralStagger do what their papers say, on any grid."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close

from documentation import ROOT
from kryloset.errors import ConfigError
from kryloset.learn.metrics import relative_l2
from kryloset.learn.models.base import Task
from kryloset.learn.models.latent_spectral import (
    NeuralSpectralBlock,
    TrigonometricSeries,
    from_patches,
    to_patches,
)
from kryloset.learn.models.layers import Convolution, double, halve, pointwise
from kryloset.learn.models.registry import model_class, read_settings
from kryloset.learn.models.stagger import divide, interleave
from kryloset.run import train
from kryloset.torch import FieldPairs, load_model

#: Small networks, without coordinates.
SMALL = {
    "unet": {"width": 4, "depth": 2, "coordinates": False},
    "lsm": {"width": 4, "heads": 2, "depth": 1, "patch": 2, "basis": 3, "coordinates": False},
    "ufno": {"width": 4, "modes": 4, "depth": 2, "layers": 1, "u_layers": 1, "coordinates": False},
}
GRIDS = [(13,), (9, 6), (5, 4, 7)]


def task(grid, periodic=False):
    axes = tuple(np.linspace(0, 1, points, endpoint=not periodic) for points in grid)
    return Task(("a", "b"), ("u",), axes, (periodic,) * len(grid), len(grid))


def make(name, grid, periodic=False, **settings):
    torch.manual_seed(0)
    kind = model_class(name)
    return kind(read_settings(kind, name, settings), task(grid, periodic))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SMALL)
def test_any_grid_goes_in_and_comes_out(name, grid, periodic):
    network = make(name, grid, periodic, **SMALL[name] | {"coordinates": True})
    other = [points + 3 for points in grid]
    assert network(draw(2, 2, *grid)).shape == (2, 1, *grid)
    assert network(draw(2, 2, *other)).isfinite().all()


@pytest.mark.parametrize("grid", [(16,), (8, 16), (8, 8, 8)])
@pytest.mark.parametrize("name", SMALL)
def test_a_shift_along_periodic_axes_shifts_the_output(name, grid):
    # By 2^depth points, and LSM by as many as each of its patches has on the coarsest grid.
    step, axes = 4, tuple(range(2, 2 + len(grid)))
    network = make(name, grid, periodic=True, **SMALL[name])
    x = draw(1, 2, *grid)
    shifted = network(x.roll((step,) * len(grid), axes))
    expected = network(x).roll((step,) * len(grid), axes)
    assert_close(shifted, expected, atol=1e-5, rtol=1e-4)
    assert (shifted - network(x)).abs().max() > 1e-2


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns(name, grid):
    network = make(name, grid, **SMALL[name])
    network(draw(3, 2, *grid)).square().sum().backward()
    assert all(weight.grad.any() for weight in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_a_network_learns_a_linear_problem(name):
    # (1 - Δ) u = a on a circle of 8 points, for other right-hand sides than those learned from.
    network = make(name, (8,), periodic=True, **SMALL[name] | {"width": 16, "depth": 1})
    a = draw(192, 2, 8)
    u = torch.fft.irfft(torch.fft.rfft(a[:, :1]) / (1 + (8 * torch.fft.rfftfreq(8)) ** 2))
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-2, total_steps=60)
    for _ in range(60):
        optimiser.zero_grad()
        (network(a[:128]) - u[:128]).square().mean().backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        error = (network(a[128:]) - u[128:]).norm() / u[128:].norm()
    assert error < 0.2


@pytest.mark.parametrize("name", SMALL)
def test_one_instance_on_a_small_grid_is_enough_to_learn_from(name):
    network = make(name, (3,), **SMALL[name] | {"depth": 12})
    assert network(draw(1, 2, 3)).isfinite().all()


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_to_halve_and_double_keeps_constants(grid, periodic):
    x = torch.ones(1, 1, *grid)
    coarse = halve(x)
    assert coarse.shape[2:] == tuple(-(-points // 2) for points in grid)
    assert_close(double(coarse, grid, (periodic,) * len(grid)), x)


def test_to_double_interpolates_linearly_across_the_end_of_a_periodic_axis():
    x = torch.tensor([[[0.0, 4.0, 8.0, 4.0]]])
    assert double(x, (8,), (True,)).flatten().tolist() == [1, 1, 3, 5, 7, 7, 5, 3]
    assert double(x, (7,), (False,)).flatten().tolist() == [0, 1, 3, 5, 7, 7, 5]


@pytest.mark.parametrize("grid", GRIDS)
def test_patches_make_up_the_grid(grid):
    x = draw(2, 3, *grid)
    patches = to_patches(x, 3)
    assert_close(from_patches(patches, x.shape, 3), x)
    first = x[(0, slice(None), *(slice(3) for _ in grid))]
    assert_close(patches[0], first.flatten(1))


@pytest.fixture
def block():
    settings = read_settings(model_class("lsm"), "lsm", {"patch": 4, "heads": 2, "basis": 3})
    torch.manual_seed(0)
    return NeuralSpectralBlock(6, settings, 1)


def test_a_spectral_block_knows_no_order_of_the_points_of_a_patch(block):
    x, order = draw(2, 6, 8), [2, 0, 3, 1, 7, 4, 6, 5]
    assert_close(block(x[:, :, order]), block(x)[:, :, order])


def test_a_patch_that_is_cut_off_holds_only_the_points_that_exist(block):
    x = draw(2, 6, 6)
    assert_close(block(x)[:, :, 4:], block(x[:, :, 4:]))


def test_the_trigonometric_series_is_its_formula():
    series = TrigonometricSeries(1, 2, 3)
    t = draw(1, 5, 2)
    a, b = series.sines[0, 0], series.cosines[0, 0]
    j = torch.pi / 3 * torch.tensor([1, 2, 3])
    for channel in range(2):
        angle = t[0, :, channel, None] * j
        expected = t[0, :, channel] + angle.sin() @ a[channel] + angle.cos() @ b[channel]
        assert_close(series(t)[0, :, channel], expected)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("space", [1, 2, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_coarse_grids_make_up_the_grid(grid, space, periodic):
    x = draw(2, 3, *grid)
    coarse = divide(x, space, (periodic,) * len(grid))
    assert len(coarse) == 2 * space ** len(grid)
    assert_close(coarse[:2], x[(..., *(slice(None, None, space) for _ in grid))])
    assert_close(interleave(coarse, space, grid), x)


@pytest.mark.parametrize("grid", GRIDS)
def test_staggering_a_network_for_single_points_changes_nothing(grid):
    staggered = make("stagger", grid, space=2)
    staggered.network = nn.Sequential(pointwise(2, 1, len(grid)), nn.Tanh())
    x = draw(2, 2, *grid)
    assert_close(staggered(x), staggered.network(x))


def test_a_staggered_network_commutes_with_shifts_by_single_points():
    staggered = make("stagger", (9, 6), periodic=True, space=3)
    staggered.network = Convolution(2, 1, (True, True))
    x = draw(2, 2, 9, 6)
    assert_close(staggered(x.roll((1, 2), (2, 3))), staggered(x).roll((1, 2), (2, 3)))


def test_mistakes_in_settings_are_named():
    with pytest.raises(ConfigError, match="heads must divide width, and 4 does not 6"):
        make("lsm", (9,), width=6)
    with pytest.raises(ConfigError, match="settings of model unet"):
        make("stagger", (9,), model="unet", settings={"modes": 3})
    with pytest.raises(
        ConfigError, match=r"space 6 .* a single one of 6 points .*: take at most 5"
    ):
        make("stagger", (9, 6), space=6)
    with pytest.raises(ConfigError, match="'deeponet_' is"):
        make("stagger", (9,), model="deeponet_")
    with pytest.raises(ConfigError, match="'transolver' is no network of the package on grids"):
        make("stagger", (9,), model="transolver")


@pytest.mark.parametrize("name", [*SMALL, "stagger"])
def test_a_model_is_trained_by_name_and_loaded_from_its_file(name, data, tmp_path):
    settings = SMALL.get(name, {"model": "unet", "settings": SMALL["unet"]})
    changed = {"model": (name,), "settings": {name: settings}, "epochs": 2}
    training = data.config.training.model_copy(update=changed)
    config = data.config.model_copy(update={"training": training})
    files = {"model": tmp_path / "model.pt", "history": tmp_path / "history.json"}
    train.run(config, data=data.path, seed=0, network=name, **files)
    pairs = FieldPairs(data.path, "valid")
    x, y = pairs.stack(range(len(pairs)))
    with torch.no_grad():
        found = load_model(files["model"])(torch.from_numpy(x).float()).numpy()
    error = relative_l2(found, y, pairs.closed_coordinates).mean()
    assert error == pytest.approx(min(json.loads(files["history"].read_text())["valid"]), rel=1e-4)


def test_the_documentation_has_the_numbers_of_weights():
    page = (ROOT / "docs/how-to/models.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `(\w+)` \|[^|]+\| ([\d,]+) \|", page)
    one = Task(("a",), ("u",), task((64, 64)).coordinates, (False, False), 2)
    kinds = {name: model_class(name) for name, _ in rows}
    networks = {name: kind(kind.Settings(), one) for name, kind in kinds.items()}
    assert {*SMALL, "fno", "stagger"} <= networks.keys()
    for name, count in rows:
        assert f"{sum(w.numel() for w in networks[name].parameters()):,}" == count
