# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs that Snakemake plans, from the root, another folder or another workflow."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from running import ROOT, snakemake

ALL = {
    "all": 1,
    "compare_solvers": 1,
    "merge_chunks": 1,
    "report_dataset": 1,
    "resolve_config": 4,
    "solve_chunk": 2,
    "sort_instances": 1,
    "verify_chunk": 2,
}


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_a_plain_run_makes_everything(snakefile: str, folder: Path):
    run = snakemake("-n", "--snakefile", snakefile, cwd=folder)
    assert run.code == 0
    assert run.jobs() == ALL


def test_the_workflow_runs_in_another_directory(folder: Path):
    run = snakemake("-n", "--snakefile", ROOT / "Snakefile", cwd=folder)
    assert run.jobs() == ALL
    assert not (folder / "results").exists()


def test_a_named_configuration_replaces_the_default_one(folder: Path):
    mine = {"datasets": {"a": {"chunks": 3}, "b": {"chunks": 1}}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    run = snakemake("-n", "--configfile", "mine.yaml", cwd=folder)
    assert run.jobs()["merge_chunks"] == 2
    assert run.jobs()["solve_chunk"] == 4


def test_chunks_can_be_chosen_on_the_command_line(folder: Path):
    run = snakemake("-n", "--set-scatter", "tiny=5", cwd=folder)
    assert run.jobs()["solve_chunk"] == 5


@pytest.mark.slow
def test_chosen_chunks_stay_when_the_cores_change(folder: Path):
    """As long as results of these instances are there."""
    large = {"count": 10_000, "splits": {"train": 0.5, "valid": 0.25, "test": 0.25}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"large": large}}))

    def count(*arguments: str) -> int:
        run = snakemake("-n", *arguments, cwd=folder)
        assert run.code == 0, run.output
        return run.jobs()["solve_chunk"]

    assert [count("--cores", cores) for cores in "123"] == [1, 2, 3]
    began = snakemake("--cores", "2", "results/large/config/sort.yaml", cwd=folder)
    assert began.code == 0, began.output
    assert [count("--cores", cores) for cores in "14"] == [2, 2]
    assert count("--cores", "4", "--set-scatter", "large=3") == 3
    large["seed"] = 1
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"large": large}}))
    assert count("--cores", "4") == 4


def test_training_has_a_target_of_its_own(folder: Path):
    jobs = snakemake("-n", "train", cwd=folder).jobs()
    assert {"train_model", "evaluate_model", "tabulate_models", "report_training"} <= jobs.keys()


def test_a_run_trains_the_models_that_it_asks_for(folder: Path):
    jobs = snakemake("-n", "train", "--config", "models=fno uno", cwd=folder).jobs()
    assert jobs["train_model"] == jobs["evaluate_model"] == 2 * jobs["tabulate_models"]
    run = snakemake("-n", "train", "--config", "models=fno fnoo", cwd=folder)
    assert run.code == 1 and "training: model 'fnoo' is unknown" in run.output
    run = snakemake("-n", "train", "--config", "models=fno fno", cwd=folder)
    assert run.code == 1 and "'fno' is there twice" in run.output


def test_benches_have_a_target_of_their_own_and_fill_one_page(folder: Path):
    jobs = snakemake("-n", "yardstick", cwd=folder).jobs()
    assert jobs == {"run_bench": 4, "show_benches": 1, "yardstick": 1}


@pytest.mark.slow
def test_the_quick_benches_fill_one_page(folder: Path):
    """One bench runs. The output of the others is provided, since tests/bench runs them."""
    made = folder / "results/yardstick"
    (made / "quick").mkdir(parents=True)
    for name in ("paper", "scale", "whole"):
        (made / f"quick/{name}.json").write_text("[]")
        (made / f"quick/{name}.txt").write_text(f"what {name} printed")
    run = snakemake("--cores", "2", "results/yardstick/quick.html", cwd=folder)
    assert run.code == 0, run.output[-3000:]
    assert run.jobs() == {"run_bench": 1, "show_benches": 1}
    page = (made / "quick.html").read_text()
    for name in ("families", "paper", "scale", "whole"):
        assert f'<section id="{name}"' in page
    assert "what paper printed" in page and "what scale printed" in page
    rows = json.loads((made / "quick/families.json").read_text())["rows"]
    assert len(rows) >= 40 and all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize(("target", "rule"), [("run", "report_dataset"), ("train", "train_model")])
def test_make_targets_run_their_rules(target: str, rule: str, folder: Path):
    config = folder / "config/config.yaml"
    command = ["make", "--dry-run", "--always-make", target, f"CONFIG={config}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in said.replace("\\\n", " ").splitlines() if "scripts/run.py" in line]
    _, _, _, *arguments = shlex.split(line)
    assert rule in snakemake("-n", *arguments, cwd=folder).jobs()


def test_resources_choose_mpi(folder: Path):
    plain = snakemake("-n", "-p", cwd=folder).output
    mpi = ("--set-resources", "solve_chunk:mpi=mpiexec", "solve_chunk:tasks=2")
    assert "mpiexec" not in plain
    assert "mpiexec -n 2 kryloset solve" in snakemake("-n", "-p", *mpi, cwd=folder).output


MODULE = f"""
module kryloset:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config["kryloset"]
    pathvars:
        results="data"

use rule * from kryloset as kryloset_*

rule ours:
    default_target: True
    input: "data/tiny/dataset.h5"
"""


def test_another_workflow_uses_this_one_as_a_module(folder: Path):
    other = folder / "other"
    other.mkdir()
    (other / "Snakefile").write_text("configfile: 'config.yaml'\n" + MODULE)
    tree = {"kryloset": {"datasets": {"tiny": {"count": 8, "chunks": 3}}}}
    (other / "config.yaml").write_text(yaml.safe_dump(tree))
    run = snakemake("-n", cwd=other)
    assert run.code == 0, run.output
    assert run.jobs()["kryloset_solve_chunk"] == 3
    assert run.jobs()["ours"] == 1


def test_lint_finds_nothing(folder: Path):
    run = snakemake("--lint", cwd=folder)
    assert run.code == 0
    assert "Congratulations" in run.output


@pytest.mark.slow
def test_the_folder_to_publish_follows_the_dataset(folder: Path):
    published = folder / "results/tiny/published"
    configured = folder / "config/config.yaml"
    for licence in ("CC-BY-4.0", "CC0-1.0"):
        tree = yaml.safe_load(configured.read_text())
        tree["datasets"]["tiny"]["about"] = {"license": licence}
        configured.write_text(yaml.safe_dump(tree))
        made = snakemake("--cores", "2", "publish", cwd=folder)
        assert made.code == 0, made.output
        assert f"Licence: {licence}." in (published / "README.md").read_text()
        assert published.joinpath("dataset.h5").samefile(folder / "results/tiny/dataset.h5")
    assert "solve_chunk" not in made.jobs()
