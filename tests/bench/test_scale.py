# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench scale`: what is fitted and predicted, and a real run of the workflow."""

import json
from pathlib import Path
from typing import Any

import pytest

from kryloset.bench import scale
from kryloset.errors import KrylosetError

#: Seconds a job, an instance, and an instance and unknown, in the order of `scale.PARTS`.
TRUE = {
    "solving": (0.0, 0.0, 0.0, 5e-7),
    "chunk": (0.0, 2.0, 1e-3, 1e-8),
    "verify": (0.0, 1.0, 2e-3, 1e-7),
    "Snakemake": (4.0, 0.5, 0.0, 0.0),
    "draw": (0.0, 0.0, 2e-4, 5e-8),
    "sort": (1.0, 0.0, 3e-4, 0.0),
    "merge": (1.5, 0.01, 1e-3, 2e-7),
    "compare": (9.0, 0.0, 0.0, 0.0),
    "report": (3.0, 0.0, 0.0, 0.0),
}


def make_row(instances: int, unknowns: int, chunks: int, workers: int = 1) -> dict[str, Any]:
    """Return a run whose seconds are exactly those of the model."""
    row: dict[str, Any] = {
        "table": "run",
        "instances": instances,
        "unknowns": unknowns,
        "chunks": chunks,
        "workers": workers,
        "bytes": 24 * instances * unknowns,
    }
    for part, (constant, job, instance, unknown) in TRUE.items():
        row[f"seconds_{part}"] = (
            constant + job * chunks + instance * instances + unknown * instances * unknowns
        )
    row["phase"] = sum(row[f"seconds_{part}"] for part in scale.CHUNKED) / workers
    others = sum(row[f"seconds_{part}"] for part in TRUE if part not in scale.CHUNKED)
    row["seconds"] = row["phase"] + others
    return row


CASES = ((100, 2500, 1), (600, 2500, 4), (100, 10_000, 2), (600, 10_000, 1), (200, 22_500, 1))


def test_exact_rows_give_their_coefficients_back():
    fitted = {row["part"]: row for row in scale.fit([make_row(*case) for case in CASES])}
    for part, expected in TRUE.items():
        row = fitted[part]
        found = [row[key] for key in ("constant", "a_job", "an_instance", "an_unknown")]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12), part
        assert row["error"] < 1e-9 and row["r2"] == pytest.approx(1)
    assert fitted["bytes"]["an_unknown"] == pytest.approx(24)


def test_the_bottleneck_is_that_of_the_rows():
    """Serial stages grow with all instances, chunks with those of a chunk."""
    fitted = scale.fit([make_row(*case) for case in CASES])
    rows = scale.predict(fitted, scale.PREDICTED)
    seconds = {row["part"]: row["seconds"] for row in rows if "seconds" in row}
    assert rows[0]["part"] == "merge"
    assert seconds["merge"] == pytest.approx(1.5 + 0.01 * 1000 + 1e6 * (1e-3 + 2e-7 * 1e4))
    assert seconds["solving"] == pytest.approx(5e-7 * 1e4 * 1e6 / 1000)
    assert seconds["chunk"] == pytest.approx(2.0 + 1000 * (1e-3 + 1e-4))
    assert seconds["verify"] == pytest.approx(1.0 + 1000 * (2e-3 + 1e-3))
    assert seconds["draw"] == pytest.approx(1e6 * (2e-4 + 5e-4) / scale.DRAWING)
    assert seconds["Snakemake"] == pytest.approx(4 + 0.5 * 1000)
    assert "compare" not in seconds
    assert sum(row.get("share", 0) for row in rows) == pytest.approx(1)
    # On one core the solves follow one another, and cost most.
    alone = scale.predict(fitted, scale.PREDICTED | {"cores": 1})
    assert alone[0]["part"] == "solving"


def test_goals_are_judged_by_their_limits():
    rows = [make_row(1000, 10_000, 1), make_row(1000, 10_000, 2, workers=2)]
    phase, whole, share = scale.judge(rows)
    one, two = rows
    assert phase.figure == pytest.approx(one["phase"] / two["phase"])
    assert whole.figure == pytest.approx(one["seconds"] / two["seconds"])
    assert share.figure == pytest.approx(1 - one["seconds_solving"] / one["seconds"])
    rows[1]["phase"] = one["phase"] / 1.85 * 1.001
    assert not scale.judge(rows)[0].met
    rows[1]["phase"] = one["phase"] / 1.85 * 0.999
    assert scale.judge(rows)[0].met
    assert not share.met
    one["seconds_solving"] = 0.91 * one["seconds"]
    assert scale.judge(rows)[2].met


def test_tables_have_every_row():
    runs = [make_row(*case) for case in CASES] + [make_row(100, 2500, 2, workers=2)]
    del runs[-1]["seconds_Snakemake"]
    fitted = scale.fit(runs)
    rows = [*runs, *fitted, *scale.predict(fitted, scale.PREDICTED)]
    text = scale.describe(rows)
    assert "The bottleneck is `merge`" in text
    assert text.count("\n|       100 |") == 3
    *_, serial, seconds, explained = scale.judge(rows)
    assert "`merge`" in serial.text and not serial.met
    assert serial.figure == max(row.get("share", 0.0) for row in rows)
    assert seconds.figure == pytest.approx(sum(row.get("seconds", 0.0) for row in rows[-11:]))
    assert not seconds.met and explained.met and explained.figure == pytest.approx(1)
    # A part that does not count may be far from its fit.
    for row in rows:
        if row["table"] == "fit":
            row["r2"] = 0.5 if row["part"] in ("solving", "compare") else 0.95
    assert scale.judge(rows)[-1].figure == 0.95
    assert all(json.loads(json.dumps(row, allow_nan=False)) == row for row in rows)


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path):
    with pytest.raises(KrylosetError, match="run this from a clone"):
        next(scale.run(instances=2, points=5, repeats=1, root=tmp_path))


@pytest.mark.slow
def test_a_real_run_tells_its_seconds_apart():
    root = Path(__file__).parents[2]
    settings = {"parameters": {"modes": 8}, "comparison": {"instances": 2}}
    row = scale.measure_run(root, 16, 11, 1, 2, settings)
    parts = [row[f"seconds_{part}"] for part in scale.PARTS]
    assert min(parts) > 0 and sum(parts) == pytest.approx(row["seconds"])
    assert row["phase"] < row["seconds"] and row["seconds_solving"] < row["phase"]
    # k and u in float64, in the chunks and the dataset.
    assert row["bytes"] > 3 * 16 * 121 * 8
    with pytest.raises(KrylosetError, match=r"does not fit mesh\.points"):
        scale.measure_run(root, 16, 11, 1, 2, {})
