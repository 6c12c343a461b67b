# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A training on any device, in any precision and by any number of processes is the same one."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from pydantic import ValidationError

from kryloset.config import TrainingConfig
from kryloset.errors import DataError, KrylosetError
from kryloset.learn.data import FieldPairs
from kryloset.learn.devices import find_device
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import load_model, weights
from kryloset.learn.processes import launch, make_fabric
from kryloset.learn.training import Training
from kryloset.run import evaluate, train

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a GPU")
TINY = {"settings": {"fno": {"modes": 4, "width": 4, "layers": 2}}, "epochs": 2}


def configure(data, **settings):
    training = TrainingConfig.model_validate(data.config.training.model_dump() | TINY | settings)
    return data.config.model_copy(update={"training": training})


def run(data, folder, **settings):
    """Train as the workflow does, and return the weights."""
    folder.mkdir()
    config = configure(data, **settings)
    model, (name,) = folder / "model.pt", config.training.models
    train.run(config, data=data.path, model=model, history=folder / "history.json")
    own = name if ":" in name else None
    evaluate.run(model, data=data.path, metrics=folder / "metrics.json", network=own)
    return load_model(model, model_class(name))


def distance(first, second):
    """Return the largest difference of two operators' weights, relative to the largest weight."""
    ours, theirs = (
        [w.detach() for w in weights(of).values() if w.is_floating_point() or w.is_complex()]
        for of in (first, second)
    )
    differences = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]
    return max(differences) / max(float(w.abs().max()) for w in ours)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fno", "unet"])  # one with normalised batches
def test_two_processes_that_share_each_batch_end_with_the_weights_of_one(data, tmp_path, model):
    # 24 instances in batches of 8: both have 4 of each, so only the order of sums differs.
    small = {"fno": TINY["settings"]["fno"], "unet": {"width": 4}}
    settings = {"model": model, "settings": small, "batch_size": 8, "device": "cpu"}
    one = run(data, tmp_path / "one", **settings)
    two = run(data, tmp_path / "two", devices=2, **settings)
    assert distance(one, two) < 1e-4


def test_bfloat16_ends_near_the_weights_of_float32(data, tmp_path):
    single = run(data, tmp_path / "single", device="cpu")
    half = run(data, tmp_path / "half", device="cpu", precision="bfloat16")
    assert 0 < distance(single, half) < 0.1
    assert all(w.dtype in (torch.float32, torch.complex64) for w in half.parameters())


@pytest.mark.slow
def test_compiled_code_ends_near_the_weights_of_uncompiled_code(data, tmp_path):
    # Not one with complex weights, which take long to compile.
    settings = {"model": f"{Path(__file__).parent}/own_models.py:Pointwise", "epochs": 1}
    plain = run(data, tmp_path / "plain", device="cpu", **settings)
    compiled = run(data, tmp_path / "compiled", device="cpu", compile=True, **settings)
    assert distance(plain, compiled) < 1e-3


@no_gpu
def test_what_needs_a_gpu_is_refused_without_one():
    with pytest.raises(KrylosetError, match="torch finds no GPU: take auto or cpu"):
        find_device("cuda")
    with pytest.raises(KrylosetError, match="float16, which needs a GPU: take bfloat16 or float32"):
        make_fabric(TrainingConfig(precision="float16"))
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"optimiser": "lbfgs", "weight_decay": 0.1}, "weight_decay"),
        ({"optimiser": "lbfgs", "clip": 1.0}, "clip"),
        ({"optimiser": "lbfgs", "devices": 2}, "devices"),
        ({"optimiser": "adahessian", "compile": True}, "compile"),
        ({"optimiser": "adahessian", "precision": "bfloat16"}, "precision"),
        ({"warmup": 2}, "warmup"),
        ({"where": "mesh", "grids": [33]}, "grids"),
        ({"warmup": 30, "schedule": "linear"}, "warmup"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(settings, key):
    with pytest.raises(ValidationError, match=f"{key}: "):
        TrainingConfig.model_validate(settings)


def fail(fabric):
    raise DataError(f"process {fabric.global_rank}: no data\n  there")


@pytest.mark.slow
def test_an_error_in_one_of_several_processes_is_told_as_in_one():
    with pytest.raises(KrylosetError, match=r"^process [01]: no data\n  there$"):
        launch(TrainingConfig(devices=2, device="cpu"), fail)


@gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_ends_near_the_weights_of_the_cpu(data, tmp_path, precision):
    cpu = run(data, tmp_path / "cpu", device="cpu")
    # cuDNN would round factors to ten bits.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        gpu = run(data, tmp_path / "gpu", device="cuda", precision=precision)
    assert all(weight.device.type == "cpu" for weight in gpu.parameters())
    assert distance(cpu, gpu) < (1e-3 if precision == "float32" else 0.2)


@gpu
@pytest.mark.parametrize("optimiser", ["adamw", "lion", "soap", "adahessian"])
def test_a_training_of_a_gpu_resumes_on_it_and_on_the_cpu(data, tmp_path, optimiser):
    pairs = [FieldPairs(data.path, split) for split in ("train", "valid")]

    def begin(**settings):
        config = configure(data, optimiser=optimiser, schedule="constant", **settings).training
        return Training(*pairs, config, checkpoint=tmp_path / "checkpoint", code="")

    first = begin(epochs=1).run()
    state = torch.load(tmp_path / "checkpoint", map_location="cpu", weights_only=True)
    assert begin(epochs=2).run().valid[:1] == first.valid
    torch.save(state, tmp_path / "checkpoint")
    elsewhere = begin(epochs=2, device="cpu")
    assert elsewhere.record.epochs == 1 and np.isfinite(elsewhere.run().valid).all()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch finds no two GPUs")
def test_two_gpus_end_with_the_weights_of_one(data, tmp_path):
    settings = {"batch_size": 8, "device": "cuda"}
    one, two = (run(data, tmp_path / str(n), devices=n, **settings) for n in (1, 2))
    assert distance(one, two) < 1e-3
