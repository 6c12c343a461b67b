# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Several models are trained and compared in one run, and a further one trains no other again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

from running import ROOT, TINY, snakemake

NET = """
from torch import nn
from kryloset.learn.models.base import GridModel
class Net(GridModel):
    def __init__(self, settings, task):
        super().__init__()
        self.map = nn.Conv2d(len(task.inputs), len(task.outputs), 1)
    def forward(self, x):
        return self.map(x)
"""


def configure(folder: Path, **training: object) -> None:
    """Write the configuration of a tiny dataset."""
    small = {"epochs": 1, "settings": {"fno": {"width": 4, "modes": 4}}}
    tree = {"datasets": {"tiny": TINY | {"training": small | training}}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))


def pending(folder: Path, *arguments: str) -> dict[str, int]:
    """Return the number of jobs by rule that a run would do."""
    run = snakemake("-n", "train", *arguments, cwd=folder)
    assert run.code == 0, run.output
    return run.jobs()


@pytest.mark.slow
def test_models_and_seeds_are_compared_and_trained_once(folder: Path):
    configure(folder, model="mine.py:Net", seeds=[0, 1])
    (folder / "mine.py").write_text(NET)
    run = snakemake("train", "--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    results = folder / "results/tiny"
    table = json.loads((results / "models.json").read_text())
    assert [len(model["errors"]) for model in table["models"].values()] == [2]
    assert "| Net | " in (results / "models.md").read_text()
    assert "Net" in (results / "training.html").read_text()
    said = subprocess.run(
        [sys.executable, ROOT / "workflow/scripts/summary.py", "config/config.yaml", "train"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "  Net " in said and " ± " in said and "  linear predictor " in said
    assert pending(folder) == {}
    configure(folder, model=["fno", "mine.py:Net"], seeds=[0, 1, 2])
    assert pending(folder)["train_model"] == 4
    assert pending(folder, "--config", "models=mine.py:Net")["train_model"] == 1
    configure(folder, model="mine.py:Net", seeds=[0, 1], device="cpu", workers=1)
    assert "train_model" not in pending(folder)
    shutil.copy(results / "models/Net/1/model.pt", folder / "begun.pt")
    configure(folder, model="mine.py:Net", seeds=[2], start="begun.pt", workers=1)
    run = snakemake("train", "--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    assert "begun.pt: relative L2 error" in (folder / "logs/tiny/train_model/Net.2.log").read_text()
    shutil.copy(results / "models/Net/0/model.pt", folder / "begun.pt")
    assert pending(folder)["train_model"] == 1
    configure(folder, model="mine.py:Net", seeds=[0, 1], epochs=2)
    assert pending(folder)["train_model"] == 2
    configure(folder, model="mine.py:Net", seeds=[0, 1])
    (folder / "mine.py").write_text(f"{NET}\n")
    assert pending(folder)["train_model"] == 2


@pytest.mark.slow
def test_what_is_solved_for_a_training_becomes_the_dataset(folder: Path):
    configure(folder, online={})
    run = snakemake("train", "--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    assert run.jobs()["train_online"] == 1 and "train_model" not in run.jobs()
    logs = [path.read_text() for path in (folder / "logs/tiny/solve_chunk").glob("*.log")]
    assert len(logs) == 2 and all("was solved for a training" in log for log in logs)
    assert "| fno " in (folder / "results/tiny/models.md").read_text()
    assert pending(folder) == {}
    # Neither the number of processes that solve nor a device is part of what is learnt.
    configure(folder, online={"solvers": 2}, device="cpu")
    assert pending(folder) == {}
    configure(folder, online={"store": False})
    assert set(pending(folder)) == {"resolve_config", "train_online", "train"}


@pytest.mark.slow
def test_baselines_go_along_trajectories_as_models_do(folder: Path):
    moving = {"family": "heat", "parameters": {"steps": 9, "final_time": 0.01, "modes": 4}}
    for training, told in (
        ({"window": 4, "stride": 1, "bundle": 2}, "--window 4 --stride 1 --bundle 2 --output"),
        ({"model": "cgs", "where": "mesh", "window": 2}, "--window 2 --output"),
    ):
        tree = {"datasets": {"tiny": TINY | moving | {"training": training}}}
        (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))
        assert told in snakemake("-n", "-p", "train", cwd=folder).output


@pytest.mark.slow
def test_trajectories_at_nodes_and_several_grids_come_into_tables(folder: Path):
    moving = {"family": "heat", "parameters": {"steps": 6, "final_time": 0.01, "modes": 4}}
    mesh = {"mesh": {"points": 9, "grids": [7, 5]}}
    small = {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5}
    at_nodes = {"model": "cgs", "where": "mesh", "steps": 2, "settings": {"cgs": small}}
    on_grids = {"grids": [9, [7, 7]], "pairs": 5, "settings": {"fno": {"width": 4, "modes": 2}}}
    datasets = {
        name: TINY | moving | mesh | {"training": {"epochs": 1} | training}
        for name, training in (("nodes", at_nodes), ("several", on_grids))
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    run = snakemake("train", "--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    for name, model in (("nodes", "cgs"), ("several", "fno")):
        text = (folder / f"results/{name}/models.md").read_text()
        on_each, along = (
            part.strip().partition("\n\n")[0]
            for part in re.split(r"error (?:on each grid|along the trajectories).*", text)[1:3]
        )
        assert "| predictor | 9 points | 7 points | 5 points |" in on_each
        for told in (on_each, along):
            assert f"| {model} | " in told and "| persistence | " in told
        assert model in (folder / f"results/{name}/training.html").read_text()


@pytest.mark.slow
def test_a_training_on_gpus_asks_for_as_many_as_share_it(folder: Path):
    configure(folder, device="cuda", devices=2)
    rules = (folder / "workflow/rules/learn.smk").read_text()
    (folder / "workflow").unlink()
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    # Snakemake shows the resources of a job that has no message.
    shown = re.sub(r"    message:\n +.*\n", "", rules)
    (folder / "workflow/rules/learn.smk").write_text(shown)
    said = snakemake("-n", "train", cwd=folder).output
    gpus = {job.split(":")[0]: re.findall(r"gpu=(\d)", job) for job in said.split("\nrule ")}
    assert (gpus["train_model"], gpus["evaluate_model"]) == (["2"], ["1"])
    assert gpus["evaluate_baselines"] == []


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"settings": {"fno": {"with": 4}}}, "with: no such key: is `width` meant?"),
        ({"model": "none.py:Net"}, "there is no file none.py"),
        ({"start": "results/tiny/models/fno/0/model.pt"}, "this training makes results/tiny"),
        ({"start": "mine.py"}, "mine.py is damaged or not a model"),
        ({"start": "none.pt"}, "there is no file none.pt"),
        ({"model": "mine.py:Other"}, "mine.py has no class 'Other'"),
        ({"model": "broken.py:Net"}, "broken.py cannot be imported"),
        ({"window": 2}, "need 2 time steps, and the family has none of one length"),
    ],
)
def test_a_wrong_model_is_refused_before_anything_is_solved(
    folder: Path, training: dict[str, object], message: str
):
    configure(folder, **training)
    (folder / "mine.py").write_text(NET)
    (folder / "broken.py").write_text("import no_such_module")
    run = snakemake("train", "--cores", "1", cwd=folder)
    assert run.code == 1
    assert "datasets.tiny" in run.output and message in run.output
    assert not (folder / "results/tiny").exists()


def test_a_training_that_could_choose_no_weights_is_refused_before_anything_is_solved(folder: Path):
    tree = {"datasets": {"tiny": TINY | {"splits": {"train": 0.5, "test": 0.5}}}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))
    run = snakemake("train", "--cores", "1", cwd=folder)
    assert run.code == 1 and "datasets.tiny.splits has no `valid`" in run.output
    assert not (folder / "results/tiny").exists()
