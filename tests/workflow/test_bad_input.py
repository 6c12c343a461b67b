# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A mistake in the input stops the run before any job, with a message that names key and remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from running import snakemake

GOOD = {"count": 8, "mesh": {"points": 9}, "parameters": {"modes": 8}}

#: What is wrong in itself, found in all datasets at once: a change, and words of the message.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown_key": ({"cuont": 8}, [".cuont: no such key"]),
    "unknown_key_within": ({"solver": {"tol": 1e-8}}, [".solver.tol: no such key"]),
    "wrong_type": ({"count": "many"}, [".count: ", "valid integer", "many"]),
    "negative_size": ({"count": -3}, [".count: ", "greater than or equal to 1", "-3"]),
    "empty_dataset": ({"count": 0}, [".count: ", "greater than or equal to 1"]),
    "tolerance_of_1": ({"solver": {"tolerance": 1}}, [".solver.tolerance: ", "less than 1"]),
    "name_of_a_folder": (
        {"splits": {"train": 0.5, "Te st": 0.5}},
        [".splits.Te st: ", "lower-case letters"],
    ),
    "more_chunks_than_instances": ({"chunks": 9}, ["chunks 9 is more than count 8", "at most 8"]),
    "two_mistakes": ({"count": -1, "seed": -1}, [".count: ", ".seed: "]),
}
#: What does not fit to a family, a model or a file: the first is told.
UNFIT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown family": ({"family": "darci"}, ["datasets.tiny", "darci", "darcy"]),
    "family file missing": ({"family": "mine.py:Heat"}, ["datasets.tiny", "no file mine.py"]),
    "family file broken": (
        {"family": "broken.py:Heat"},
        ["datasets.tiny", "broken.py cannot be imported", "no_such_module"],
    ),
    "unknown setting of the family": (
        {"parameters": {"modus": 8}},
        ["parameters", "modus", "no such key"],
    ),
    "choices to replay missing": (
        {"solver": {"policy": "replay mine.json"}},
        ["datasets.tiny.solver.policy", "no file mine.json"],
    ),
    "unknown model": (
        {"training": {"model": ["fno", "fnoo"]}},
        ["datasets.tiny.training: model 'fnoo' is unknown", "take one of", "fno"],
    ),
    "settings of an unknown model": (
        {"training": {"settings": {"fnoo": {"width": 4}}}},
        ["datasets.tiny.training.settings.fnoo: there is no such model"],
    ),
}


def refused(folder: Path, *arguments: str) -> str:
    """Run what must be refused, and return the output."""
    run = snakemake("--cores", "1", *arguments, cwd=folder)
    assert run.code == 1
    assert "Traceback" not in run.output
    assert not any((folder / name).exists() for name in ("results", "logs", "benchmarks"))
    return run.output


@pytest.mark.parametrize("case", UNFIT)
def test_a_mistake_stops_the_run_before_any_work(case: str, folder: Path):
    change, words = UNFIT[case]
    (folder / "broken.py").write_text("import no_such_module\n")
    config = {"datasets": {"tiny": GOOD | change}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))

    said = refused(folder)

    for word in words:
        assert word in said


def test_all_mistakes_are_reported_together(folder: Path):
    datasets = {name: GOOD | change for name, (change, _) in WRONG.items()}
    config = {"datasets": datasets, "dataset": {}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))

    said = refused(folder)

    assert "  dataset: no such key" in said
    for name, (_, words) in WRONG.items():
        lines = "\n".join(line for line in said.splitlines() if f"datasets.{name}" in line)
        for word in words:
            assert word in lines, name


def test_a_duplicate_key_is_refused(folder: Path):
    (folder / "config/config.yaml").write_text("datasets:\n  a: {seed: 1, count: 8, seed: 2}\n")
    assert "the key 'seed' comes twice" in refused(folder)


def test_a_configuration_without_datasets_is_refused(folder: Path):
    (folder / "config/config.yaml").write_text("datasets: {}\n")
    assert "datasets" in refused(folder)


def test_more_chunks_than_instances_are_refused(folder: Path):
    said = refused(folder, "--set-scatter", "tiny=9")
    assert "--set-scatter tiny=9" in said
    assert "take 1 to 8 chunks" in said


def test_a_results_folder_that_cannot_be_made_is_reported(folder: Path):
    (folder / "taken").write_text("a file where a folder should be\n")
    said = refused(folder, "--config", "pathvars={results: taken/results}")
    assert "pathvars.results" in said
    assert "name another folder" in said


def test_a_dataset_name_of_another_family_is_refused(folder: Path):
    made = folder / "data/tiny"
    (made / "config").mkdir(parents=True)
    run = ("-n", "--config", "pathvars={results: data}")
    for family in ("heat", "darcy"):
        text = yaml.safe_dump({"datasets": {"tiny": {"family": family}}})
        (made / "config/sort.yaml").write_text(text)
        (made / "dataset.h5").touch()
        if family == "darcy":
            assert snakemake(*run, cwd=folder).code == 0
            continue
        said = refused(folder, *run)
        assert "data/tiny holds a dataset of another family, heat;" in said
        assert "give the one of darcy another name, move or remove that folder, or over" in said
        force = "pathvars={results: data}", "force=true"
        assert snakemake("-n", "--config", *force, cwd=folder).code == 0
        (made / "dataset.h5").unlink()
        assert snakemake(*run, cwd=folder).code == 0


def test_a_missing_configuration_is_reported(folder: Path):
    (folder / "config/config.yaml").unlink()
    assert "config/config.yaml" in refused(folder)
