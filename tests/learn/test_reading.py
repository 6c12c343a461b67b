# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `kryloset bench dataset` reads is the same in all its ways."""

import numpy as np
import pytest

pytest.importorskip("torch")

from torch.utils.data import DataLoader

from kryloset.bench import reading
from kryloset.learn.data import FieldPairs


def test_plain_pairs_are_those_of_the_split(data):
    pairs = FieldPairs(data.path, "train")
    names = ("t0_fields/k", "t0_fields/u")
    plain = reading.PlainPairs(data.path, names, pairs.instances.tolist())
    for mine, (k, u) in zip(DataLoader(pairs, 7), DataLoader(plain, 7), strict=True):
        np.testing.assert_array_equal(mine["x"][:, 0], k)
        np.testing.assert_array_equal(mine["y"], u)


def test_ratios_are_those_of_the_times(data, tmp_path):
    row = reading.measure(data.path, tmp_path / "contiguous.h5", 0, 2)
    assert row["pairs"] == 24
    for way in ("same_chunks", "contiguous"):
        assert row[f"to_{way}"] == pytest.approx(row["kryloset"] / row[way])


def test_pairs_are_counted_without_workers(data):
    row = reading.measure_pairs(data.path, 1)
    assert row["arrays"] == 4 and row["first"] > 0 and row["later"] > 0
