# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench ablation` on small sequences."""

import json
from pathlib import Path

import numpy as np
import pytest

from kryloset.bench import ablation
from kryloset.bench.tables import COLUMNS, tabulate
from kryloset.errors import KrylosetError
from kryloset.ordering.dissimilarity import sine

REFERENCES = 3


@pytest.mark.parametrize("name", ablation.ARRANGEMENTS)
def test_every_order_has_each_system_once_and_begins_with_a_reference(name: str) -> None:
    features = np.random.default_rng(0).standard_normal((20, 4))
    order, places = ablation.arrange(name, features, REFERENCES)
    assert sorted(order) == list(range(20))
    assert places[0] == 0 and places == sorted(set(places)) and len(places) == REFERENCES


def test_in_the_order_of_clusters_each_system_follows_the_reference_that_it_is_nearest_to() -> None:
    features = np.random.default_rng(0).standard_normal((40, 5))
    order, places = ablation.arrange("clusters", features, REFERENCES)
    between = sine(features, features[order[places]])
    for place, system in enumerate(order):
        reference = np.searchsorted(places, place, side="right") - 1
        assert between[system].argmin() == reference


@pytest.fixture(scope="module", params=ablation.SEQUENCES)
def rows(request: pytest.FixtureRequest) -> list[dict]:
    return ablation.measure(request.param, 16, 9, REFERENCES, 1e-9)


def test_every_order_is_combined_with_every_method(rows: list[dict]) -> None:
    assert len(rows) == len({(row["order"], row["recycle"], row["reuse"]) for row in rows}) == 20
    assert all(row["true_residual"] <= 1e-9 for row in rows)


def test_without_recycling_and_reuse_an_order_changes_no_iteration(rows: list[dict]) -> None:
    plain = [row for row in rows if row["recycle"] == "none" and row["neighbours"] is None]
    assert len(plain) == len(ablation.ARRANGEMENTS)
    assert len({row["iterations"] for row in plain}) == 1
    recycled = [row for row in rows if row["recycle"] != "none"]
    assert max(row["iterations"] for row in recycled) < plain[0]["iterations"]


def test_delta_is_known_where_a_space_is_recycled(rows: list[dict]) -> None:
    for row in rows:
        if row["recycle"] == "none":
            assert row["delta"] is None
        else:
            assert 0 < row["delta"] < 1


def test_references_are_as_many_as_asked_for_and_dearer_for_neighbours(rows: list[dict]) -> None:
    settled = [row for row in rows if row["reuse"].endswith(f"{REFERENCES} fixed")]
    assert len(settled) == len(ablation.ARRANGEMENTS)
    assert all(row["made"] == REFERENCES for row in settled)
    # A reference system takes fewer iterations than those that use its factor.
    assert all(row["iterations"] < row["neighbours"] for row in settled)


def test_a_path_is_measured_against_that_of_the_given_order(rows: list[dict]) -> None:
    for row in rows:
        if row["order"] == "given":
            assert row["to_given"] == 1 and row["sort_ms"] == 0
        elif row["order"] != "clusters":
            assert row["to_given"] < 1


def test_more_references_than_systems_are_refused() -> None:
    with pytest.raises(KrylosetError, match="4 systems cannot have 5 references"):
        ablation.measure("darcy", 8, 4, 5)


def test_command_prints_and_writes_every_row(bench, tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    options = "ablation --kind wind --size 12 --count 6 --references 2 --json"
    code, out, _ = bench(*options.split(), str(output))
    assert code == 0
    written = json.loads(output.read_text())
    assert written["bench"] == "ablation" and options in written["command"]
    rows = written["rows"]
    assert {row["sequence"] for row in rows} == {"wind"} and len(rows) == 20
    assert tabulate(rows, COLUMNS["ablation"]) in out
