# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An edit of the configuration or the package reruns the jobs that depend on it, and no others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from running import ROOT, TINY, Run, snakemake

pytestmark = pytest.mark.slow

MERGE_AND_AFTER = {"merge_chunks", "report_dataset", "all"}
VERIFY_AND_AFTER = MERGE_AND_AFTER | {"verify_chunk"}
FAMILY = "from parts import Base\n\n\nclass Mine(Base):\n    pass\n"
PARTS = "from kryloset.problems.darcy import Darcy as Base\n"


class Project:
    """A working folder with its own copy of the package and a finished dataset."""

    def __init__(self, folder: Path) -> None:
        """Create the folder and make its dataset."""
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src")
        for name in ("Snakefile", "workflow", "profiles", "envs"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "config").mkdir()
        (folder / "mine.py").write_text(FAMILY)
        (folder / "parts.py").write_text(PARTS)
        self.configure()
        run = self.snakemake("--cores", "2")
        assert run.code == 0, run.output

    def configure(self, name: str = "tiny", **changes: object) -> None:
        """Write the configuration with changes."""
        tree = {"datasets": {name: TINY | {"family": "mine.py:Mine"} | changes}}
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(tree))

    def snakemake(self, *arguments: str) -> Run:
        """Run Snakemake on the folder's own copy of the package."""
        process = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder / "src")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Run(process.returncode, process.stdout)

    def pending(self, *arguments: str) -> set[str]:
        """Return the rules of the jobs that Snakemake would run now."""
        run = snakemake("-n", *arguments, cwd=self.folder, source=self.folder / "src")
        assert run.code == 0, run.output
        return set(run.jobs())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def edited(project: Project):
    """Append a comment to a file of the project, for the duration of a test."""
    originals: dict[Path, str] = {}

    def edit(name: str) -> None:
        path = project.folder / name
        originals[path] = path.read_text()
        path.write_text(originals[path] + "\n# edited\n")

    yield edit
    for path, text in originals.items():
        path.write_text(text)


def test_a_finished_run_has_nothing_to_do(project: Project):
    assert project.pending() == set()


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        (
            {"splits": {"train": 0.25, "valid": 0.25, "test": 0.5}},
            VERIFY_AND_AFTER | {"resolve_config"},
        ),
        (
            {"solver": {"restart": 12, "recycle": 4}},
            VERIFY_AND_AFTER | {"resolve_config", "solve_chunk", "compare_solvers"},
        ),
        (
            {"comparison": {"instances": 3}},
            {"resolve_config", "compare_solvers", "report_dataset", "all"},
        ),
        ({"training": {"seeds": [7]}}, set()),
    ],
    ids=["splits", "solver", "comparison", "training"],
)
def test_a_setting_reruns_the_stages_that_it_concerns(
    project: Project, changes: dict[str, object], rules: set[str]
):
    project.configure(**changes)
    try:
        assert project.pending() == rules
    finally:
        project.configure()


def test_a_seed_reruns_everything(project: Project):
    project.configure(seed=1)
    try:
        jobs = project.pending()
    finally:
        project.configure()
    assert {"sort_instances", "solve_chunk", "compare_solvers"} <= jobs


def test_a_change_is_detected_without_records_of_snakemake(project: Project):
    """This happens, for example, if the results were copied to another folder."""
    records, aside = project.folder / ".snakemake", project.folder / "aside"
    records.rename(aside)
    try:
        assert project.pending() == set()
        project.configure(splits={"train": 0.25, "valid": 0.25, "test": 0.5})
        assert project.pending() == VERIFY_AND_AFTER | {"resolve_config"}
        project.configure(seed=1)
        assert {"sort_instances", "solve_chunk", "compare_solvers"} <= project.pending()
    finally:
        project.configure()
        shutil.rmtree(records)
        aside.rename(records)


def test_results_under_another_name_are_made_again(project: Project):
    results = project.folder / "results"
    (results / "tiny").rename(results / "renamed")
    try:
        project.configure(name="renamed")
        assert {"sort_instances", "solve_chunk", "merge_chunks"} <= project.pending()
    finally:
        (results / "renamed").rename(results / "tiny")
        project.configure()


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("report", {"report_dataset", "all"}),
        ("solve", VERIFY_AND_AFTER | {"solve_chunk"}),
        ("verify", VERIFY_AND_AFTER),
        ("merge", MERGE_AND_AFTER),
        ("check", set()),
        ("train", set()),
    ],
)
def test_an_edit_of_a_stage_reruns_it_and_those_after_it(
    project: Project, edited: Callable[[str], None], module: str, rules: set[str]
):
    edited(f"src/kryloset/run/{module}.py")
    assert project.pending() == rules


def test_an_edit_of_a_solver_reruns_the_stages_that_solve(
    project: Project, edited: Callable[[str], None]
):
    edited("src/kryloset/krylov/methods/gcrodr.py")
    assert project.pending() == VERIFY_AND_AFTER | {"solve_chunk", "compare_solvers"}


@pytest.mark.parametrize("file", ["mine.py", "parts.py"])
def test_an_edit_of_a_users_family_or_of_what_it_imports_reruns_everything(
    project: Project, edited: Callable[[str], None], file: str
):
    edited(file)
    assert {"sort_instances", "solve_chunk", "merge_chunks"} <= project.pending()


def test_another_number_of_processes_reruns_nothing(project: Project):
    mpi = ("--set-resources", "solve_chunk:mpi=mpiexec", "solve_chunk:tasks=2")
    assert project.pending(*mpi) == set()


def test_other_folders_of_logs_rerun_nothing_and_another_of_results_everything(project: Project):
    assert project.pending("--config", "pathvars={logs: other, benchmarks: too}") == set()
    made = project.pending("--config", "pathvars={results: other}")
    assert made == VERIFY_AND_AFTER | {
        "resolve_config", "sort_instances", "solve_chunk", "compare_solvers",
    }  # fmt: skip


def test_a_changed_setting_takes_effect_in_the_next_run(project: Project):
    """With `ancient` inputs, Snakemake noticed a change only in the run after the next."""
    project.configure(splits={"train": 0.25, "valid": 0.25, "test": 0.5})
    run = project.snakemake("--cores", "2", "results/tiny/dataset.h5")
    assert run.code == 0, run.output
    stored = yaml.safe_load((project.folder / "results/tiny/config/merge.yaml").read_text())
    assert stored["datasets"]["tiny"]["splits"]["test"] == 0.5
    assert "solve_chunk" not in run.jobs()
    assert "merge_chunks" in run.jobs()
