# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs hold the values of the file, and the scaling is that of the training split."""

import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.dataset.integrity import SEALS, read_seals
from kryloset.dataset.splits import split_indices
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.scaling import Scaling

SPLITS = ("train", "valid", "test")


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_the_parameters_and_the_solution_of_the_drawn_instances(data, split):
    pairs = FieldPairs(data.path, split)
    assert len(pairs) == len(pairs.instances) == len(split_indices(data.config)[split])
    for item, instance in enumerate(pairs.instances):
        drawn = data.parameters[instance]
        expected = np.stack(
            [drawn["k"], np.broadcast_to(drawn["f"], (9, 11)), np.full((9, 11), drawn["nu"])]
        )
        x, y = pairs.arrays(item)
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, data.solutions[instance][None])
        pair = pairs[item]
        assert pair["x"].dtype == pair["y"].dtype == torch.float32
        assert pair["row"] == instance
        np.testing.assert_array_equal(pair["x"], x.astype(np.float32))
        np.testing.assert_array_equal(pair["y"], y.astype(np.float32))


def test_splits_share_no_instance_and_miss_none(data):
    drawn = np.concatenate([FieldPairs(data.path, split).instances for split in SPLITS])
    assert sorted(drawn) == list(range(data.config.count))


def test_pairs_name_their_channels_and_grid(data):
    pairs = FieldPairs(data.path, "train")
    assert (pairs.inputs, pairs.outputs) == (("k", "f", "nu"), ("u",))
    assert pairs.logarithmic == (True, False, False)
    assert pairs.grid == (9, 11)
    np.testing.assert_array_equal(pairs.coordinates[1], np.linspace(0, 2, 11))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_the_same_pairs(data, start):
    pairs = FieldPairs(data.path, "train")
    pairs[0]  # The file is open now, and a worker must not use this handle.
    alone = list(torch.utils.data.DataLoader(pairs, 5))
    helped = list(
        torch.utils.data.DataLoader(pairs, 5, num_workers=2, multiprocessing_context=start)
    )
    for place, (mine, theirs) in enumerate(zip(alone, helped, strict=True)):
        items = range(5 * place, min(5 * place + 5, len(pairs)))
        for key, stored in zip("xy", pairs.stack(items), strict=True):
            assert torch.equal(mine[key], theirs[key])
            np.testing.assert_array_equal(mine[key], stored.astype(np.float32))
    sent = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(sent[3]["y"], pairs[3]["y"])


def test_the_digest_distinguishes_datasets_but_not_files(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    digest = FieldPairs(data.path, "train").digest
    assert FieldPairs(copy, "test").digest == digest
    with h5py.File(copy, "a") as file:
        seal, text = read_seals(file)["t0_fields/u"], file[SEALS].asstr()[()]
        del file[SEALS]
        file[SEALS] = text.replace(seal, "0" * 64)
    assert FieldPairs(copy, "train").digest != digest


def test_a_damaged_instance_is_an_error_and_no_pair(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    pairs = FieldPairs(copy, "train")
    with h5py.File(copy) as file:
        chunk = file["t0_fields/u"].id.get_chunk_info(int(pairs.instances[3]))
    with copy.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff")
    pairs[2]
    with pytest.raises(DataError, match=f"u, row {pairs.instances[3]} is damaged"):
        pairs[3]


def test_pairs_need_no_workflow():
    program = "import sys, kryloset.torch; sys.exit('snakemake' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_items_end_where_the_split_does(data):
    pairs = FieldPairs(data.path, "valid")
    assert torch.equal(pairs[-1]["y"], pairs[len(pairs) - 1]["y"])
    with pytest.raises(IndexError, match="the split has"):
        pairs[len(pairs)]


def test_unknown_split_is_named(data):
    with pytest.raises(DataError, match=r"no split `proof`: it has train, valid, test"):
        FieldPairs(data.path, "proof")


def test_field_that_is_not_on_the_grid_is_named(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    with h5py.File(copy, "a") as file:
        file["t0_fields/u"].attrs["dim_varying"] = [True, False]
    with pytest.raises(DataError, match=r"`u` has the shape \(9, 1\), not that of the grid"):
        FieldPairs(copy, "train")


def test_encoding_is_the_standard_score_over_the_train_split(data):
    pairs = FieldPairs(data.path, "train")
    scaling = Scaling.fit(pairs)
    x, y = pairs.stack(range(len(pairs)))
    natural = np.stack([np.log(x[:, 0]), x[:, 1], x[:, 2]])
    mean, deviation = (f((1, 2, 3), keepdims=True) for f in (natural.mean, natural.std))
    found = scaling.encode(torch.from_numpy(x)).numpy().swapaxes(0, 1)
    # Means and deviations are float32, like the weights.
    np.testing.assert_allclose(found, (natural - mean) / deviation, rtol=1e-5, atol=1e-6)
    score = torch.from_numpy((y - y.mean()) / y.std())
    np.testing.assert_allclose(scaling.decode(score).numpy(), y, rtol=1e-5, atol=1e-7)


def test_scaling_uses_only_the_train_split(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    with h5py.File(copy, "a") as file:
        for instance in FieldPairs(data.path, "test").instances:
            file["t0_fields/k"][instance] = 1e9
            file["t0_fields/u"][instance] = 1e9
    expected = Scaling.fit(FieldPairs(data.path, "train")).state_dict()
    found = Scaling.fit(FieldPairs(copy, "train")).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_coefficient_without_a_logarithm_is_named(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    pairs = FieldPairs(copy, "train")
    with h5py.File(copy, "a") as file:
        file["t0_fields/k"][pairs.instances[2], 3, 4] = 0
    with pytest.raises(DataError, match=rf"`k` of instance {pairs.instances[2]} is not positive"):
        Scaling.fit(pairs)


def test_channel_that_is_the_same_everywhere_is_encoded_as_zero(data, tmp_path):
    copy = shutil.copy(data.path, tmp_path / "copy.h5")
    with h5py.File(copy, "a") as file:
        file["scalars/nu"][:] = 0.1  # whose mean is rounded
    pairs = FieldPairs(copy, "train")
    scaling = Scaling.fit(pairs)
    for x in (pairs[0]["x"][None], torch.from_numpy(pairs.stack([0])[0])):
        assert scaling.encode(x)[:, 2].abs().max() < 1e-6


def test_gradients_pass_through_a_negative_channel_beside_a_logarithm(data):
    pairs = FieldPairs(data.path, "train")
    x = pairs[0]["x"][None].clone()
    x[:, 2] = -1
    x.requires_grad_()
    Scaling.fit(pairs).encode(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).all()
