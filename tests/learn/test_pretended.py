# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""All that a training computes is on its device: a GPU, or one that is pretended.

A pretended one finds what would be on two devices on a machine without a GPU.
"""

import json
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import torch
from box_meshes import box_mesh, make_batch, make_task
from pretended import DEVICE, on_device
from reaction_data import make_data
from torch import nn

from kryloset.config import TrainingConfig
from kryloset.dataset.reader import Dataset
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.models.base import OnGrid, PointModel, Task
from kryloset.learn.models.registry import MODELS, model_class, on_points, read_settings
from kryloset.learn.operator import Operator, load_model
from kryloset.learn.point_batch import PointBatch
from kryloset.learn.scaling import Scaling
from kryloset.run import evaluate, train
from kryloset.run.equations import open_equations
from small_sets import make_small

#: Settings of small networks.
SMALL = {
    "cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5},
    "deeponet": {"sensors": 4, "terms": 4, "width": 4},
    "fno": {"width": 2, "modes": 4, "layers": 1},
    "gino": {"width": 4, "modes": 4, "latent": 4, "layers": 1},
    "lsm": {"width": 4, "depth": 1, "tokens": 2, "basis": 2, "heads": 2},
    "stagger": {"settings": {"width": 2, "modes": 4, "layers": 1}},
    "tfno": {"width": 4, "modes": 4, "layers": 1, "rank": 0.5},
    "transolver": {"width": 4, "layers": 1, "heads": 2, "slices": 2, "reference": 2},
    "ufno": {"width": 2, "modes": 4, "layers": 1, "u_layers": 1, "depth": 1},
    "unet": {"width": 2, "depth": 2},
    "uno": {"width": 2, "modes": 4},
}
SPLITS = {"train": 0.5, "valid": 0.5}
OWN = f"{Path(__file__).parent}/own_models.py:Fourier"


@contextmanager
def on_gpu():
    """Compute in single precision, where cuDNN would round factors to ten bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
devices = pytest.mark.parametrize(
    ("device", "there"),
    [
        pytest.param(DEVICE, on_device, id="pretended"),
        pytest.param(torch.device("cuda", 0), on_gpu, id="cuda", marks=no_gpu),
    ],
)


def begin(name: str, where: str) -> tuple[Operator, GridBatch | PointBatch]:
    """Return a small operator and a batch on a grid, a periodic or masked one, or on meshes."""
    at_nodes, masked = where == "meshes", where == "masked"
    if at_nodes:
        task, axes = make_task(2, channels=3), 0
        batch = PointBatch.join([make_batch(box_mesh(2, cubes=cubes), 3) for cubes in (3, 4)])
        x = batch.x.exp()
    else:
        random, axes = torch.Generator().manual_seed(0), 2
        lines = tuple(np.linspace(0, 1, 11)[: 11 - (where == "periodic")] for _ in range(2))
        inputs = ("k", "f", "inside" if masked else "g")
        task = Task(inputs, ("u", "v"), lines, (where == "periodic",) * 2, 2)
        x, y = (torch.rand(3, n, *map(len, lines), generator=random) + 0.1 for n in (3, 2))
        if masked:
            x[:, -1] = (x[:, -1] > 0.4).float()
            y = torch.where(x[:, -1:] != 0, y, torch.nan)
        rows = torch.arange(3)
        batch = GridBatch(x, y, (np.linspace(0, 1, 11),) * 2, rows, rows[:, None])
    torch.manual_seed(0)
    kind = model_class(name)
    network = kind(read_settings(kind, name, SMALL[name]), task)
    if isinstance(network, PointModel) and not at_nodes:
        network = OnGrid(network, task)
    numbers = [(0.5, 2.0)] * 3
    scaling = Scaling(
        [True, False, False], numbers, numbers[: len(task.outputs)], axes, masked=masked
    )
    return Operator(scaling, network), replace(batch, x=x)


PLACES = [(name, where) for name in MODELS for where in ("grid", "periodic", "masked")]
PLACES += [(name, "meshes") for name in MODELS if on_points(model_class(name))]


@devices
@pytest.mark.parametrize(("name", "where"), PLACES)
def test_a_model_learns_on_a_device_what_it_learns_on_the_cpu(name, where, device, there):
    operator, batch = begin(name, where)
    found = []
    with there():
        # Also when it has computed elsewhere before.
        for place in (torch.device("cpu"), device, torch.device("cpu")):
            operator.zero_grad()
            operator.to(place)
            moved = batch.to(place)
            prediction = operator(*moved.arguments)
            loss = moved.loss("h1", prediction)
            loss.backward()
            slopes = [weight.grad for weight in operator.parameters()]
            # Processes wait for the gradients of all weights.
            assert {values.device for values in (prediction, loss, *slopes)} == {place}
            found.append([values.detach().cpu() for values in (prediction, loss, *slopes)])
    for first, *others in zip(*found, strict=True):
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Return a function that makes a dataset, once."""
    folder = tmp_path_factory.mktemp("sets")

    @cache
    def make(name):
        path = folder / f"{name}.h5"
        if name == "reaction":
            return make_data(path).path
        return make_small(path, name, splits=SPLITS)

    return make


def run(path, folder, **settings):
    """Train and evaluate as the workflow does, and return the errors."""
    folder.mkdir()
    with Dataset(path) as dataset:
        config = dataset.config
    small = {"settings": SMALL, "epochs": 2, "batch_size": 4}
    training = TrainingConfig.model_validate(small | settings)
    config = config.model_copy(update={"training": training})
    model, history, metrics = (folder / name for name in ("model.pt", "history", "metrics"))
    equations = open_equations if training.residual else None
    train.run(config, data=path, model=model, history=history, equations=equations)
    (name,) = training.models
    evaluate.run(
        model,
        data=path,
        metrics=metrics,
        predictions=folder / "p.h5",
        equations=equations,
        network=name if ":" in name else None,
    )
    loaded = load_model(model, model_class(name))
    assert all(weight.device.type == "cpu" for weight in loaded.parameters())
    return json.loads(metrics.read_text())["errors"]["valid"]


@devices
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("reaction", {"model": "tfno", "optimiser": "soap", "average": 0.9, "clip": 1.0}),
        ("reaction", {"model": OWN}),
        ("heat", {"model": "gino", "where": "mesh", "steps": 2}),
        ("thermal_polygons", {"model": "cgs", "residual": 0.1}),
        ("heat", {"model": "fno", "steps": 2, "residual": 0.1}),
    ],
)
def test_a_training_on_a_device_ends_near_the_errors_of_the_cpu(
    name, settings, device, there, sets, tmp_path
):
    path = sets(name)
    here = run(path, tmp_path / "here", device="cpu", **settings)
    with there():
        assert run(path, tmp_path / "there", **settings) == pytest.approx(here, rel=0.01)


def test_what_is_on_two_devices_is_found():
    layer = nn.Linear(2, 2)
    with on_device():
        layer.to(DEVICE)
        x = torch.ones(3, 2, device=DEVICE)
        assert layer(x).cpu().shape == (3, 2)
        for mistake in (
            lambda: x + torch.arange(2),
            lambda: layer(torch.ones(3, 2)),
            lambda: torch.cat((x, torch.ones(3, 2))),
            lambda: x.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError), match=r"not all tensors|numpy"):
                mistake()
