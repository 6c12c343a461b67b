# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stage `sort` reads features in parts, sorts as configured, and reports seconds."""

import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from documentation import read_blocks
from kryloset.config import DatasetConfig
from kryloset.dataset.staged import StagedFile
from kryloset.fem.coarse_grid import CoarseGrid
from kryloset.ordering import greedy_chain, partition, steps
from kryloset.ordering.features import REDUCTIONS
from kryloset.problems import Family, load_family
from kryloset.problems.darcy import Darcy
from kryloset.problems.populations import Population, load_populations
from kryloset.run import draw, sort
from kryloset.run.draw import Drawn
from kryloset.run.features import make_features

COUNT = 40
ARRAYS = ("permutation", "bounds", "features", "steps", "steps_given")
SETTINGS: dict[str, Any] = {
    "count": COUNT,
    "chunks": 3,
    "mesh": {"points": 17},
    "parameters": {"modes": 8, "source_deviation": 0.5},
}


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    """The parameters of all instances by name, drawn one by one."""
    config = DatasetConfig(**SETTINGS)
    drawn = Drawn(load_populations(config), config.seed).instances(range(COUNT))
    return {name: np.stack([instance[name] for instance in drawn]) for name in "kf"}


def run(output: Path, **keys: Any) -> dict[str, Any]:
    sort.run(DatasetConfig(**SETTINGS, **keys), "set", output=output)
    with StagedFile(output) as file:
        return {**file.attrs, **{name: file.array(name) for name in ARRAYS if name in file}}


def test_the_default_order_is_the_greedy_chain_over_all_parameters(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    began = time.perf_counter()
    found = run(tmp_path / "order.h5")
    elapsed = time.perf_counter() - began
    features = np.concatenate([fields[name].reshape(COUNT, -1) for name in "kf"], axis=1)
    assert (found["method"], found["features_kind"]) == ("greedy", "parameters")
    np.testing.assert_array_equal(found["permutation"], greedy_chain(features))
    np.testing.assert_array_equal(found["bounds"], partition(COUNT, 3))
    assert found["seconds"] > 0 and found["seconds_features"] > 0
    assert found["seconds"] + found["seconds_features"] < elapsed


@pytest.mark.parametrize("order", ["greedy", "hilbert", "or_opt", "spanning_tree", "given"])
@pytest.mark.parametrize("kind", ["parameters", "principal", *REDUCTIONS])
def test_every_order_works_with_every_kind_of_features(
    order: str,
    kind: str,
    fields: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seven instances at a time.
    monkeypatch.setattr(draw, "BLOCK_BYTES", 7 * 2 * 17**2 * 8)
    output = tmp_path / "order.h5"
    found = run(output, sort=order, features=kind)
    assert sorted(found["permutation"]) == list(range(COUNT))
    assert found["method"] == order
    with h5py.File(output) as ordered:
        features = ordered["features"][...]
        np.testing.assert_array_equal(
            ordered["steps"], steps(features, ordered["permutation"][...])
        )
    if kind in REDUCTIONS:
        expected = np.concatenate(
            [REDUCTIONS[kind](field, 144) for field in fields.values()], axis=1
        )
        np.testing.assert_array_equal(features, expected)
    if kind == "principal":
        # All instances are in the sample, so all differences are in the space of the axes.
        whole = np.concatenate([field.reshape(COUNT, -1) for field in fields.values()], axis=1)
        expected = np.linalg.norm(whole[1:] - whole[:-1], axis=1)
        np.testing.assert_allclose(steps(features, np.arange(COUNT)), expected)


def test_distances_by_solutions_are_those_on_the_coarse_grid(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "order.h5"
    found = run(output, features="solutions")
    assert (found["method"], found["features_kind"]) == ("greedy", "solutions")
    grid = CoarseGrid(load_family(DatasetConfig(**SETTINGS)))
    pairs = zip(fields["k"], fields["f"], strict=True)
    solutions = np.stack([grid.solve({"k": k, "f": f})[0].ravel() for k, f in pairs])
    # 9 x 9 points, all of whose cosines are kept.
    assert found["features"].shape == solutions.shape == (COUNT, 81)
    order = np.arange(COUNT)
    np.testing.assert_allclose(found["steps_given"], steps(solutions, order))


def test_many_instances_are_ordered_along_the_curve_by_cosines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sort, "WHOLE_UP_TO", 2 * 17**2 * COUNT - 1)
    assert run(tmp_path / "order.h5")["method"] == "greedy"
    monkeypatch.setattr(sort, "GREEDY_UP_TO", COUNT - 1)
    found = run(tmp_path / "order.h5")
    assert found["method"] == "hilbert"
    assert found["features_kind"] == "cosines"
    assert found["features"].shape == (COUNT, 2 * 144)


def test_features_of_a_users_family_are_shortened_as_one_vector(fields: dict[str, Any]) -> None:
    class Logarithmic(Darcy):
        def features(self, instance: Any) -> Any:
            return np.log(instance["k"]).ravel()

    config = DatasetConfig(**SETTINGS)
    family: Family = Logarithmic(load_family(config).settings, config.mesh)
    k = fields["k"].reshape(COUNT, -1)
    drawn = Drawn([Population(family)], config.seed)
    whole = make_features(family, drawn, COUNT, "parameters")
    short = make_features(family, drawn, COUNT, "cosines")
    np.testing.assert_array_equal(whole, np.log(k))
    np.testing.assert_array_equal(short, REDUCTIONS["cosines"](np.log(k), 144))


def test_example_of_the_page_runs() -> None:
    (code,) = read_blocks("docs/explanation/ordering.md")
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["features"].shape == (2000, 144)
    assert sorted(found["order"]) == list(range(2000))
    assert len(found["bounds"]) == 9 and len(found["medoids"]) == 5
