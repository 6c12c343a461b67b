# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset file is enough to make it again in another folder."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import h5py
import pytest
import yaml
from failing_sets import make
from pointwise_runs import make_run
from test_growing import Grown, assert_kept

from kryloset.config import load_config
from kryloset.dataset.restore import command, restore
from kryloset.errors import DataError
from kryloset.problems import load_family
from running import TINY, snakemake

POINTWISE = (Path(__file__).parent / "pointwise.py").read_text()


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with a dataset of a family that imports a module from another folder."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "models/lib").mkdir(parents=True)
    (folder / "models/lib/parts.py").touch()
    (folder / "models/mine.py").write_text(POINTWISE + "\nimport lib.parts\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_run(folder, family="models/mine.py:Pointwise2").merge()
    return folder


@pytest.fixture
def made(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "dataset.h5"


def test_the_family_is_restored_where_the_configuration_names_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    restore(made, tmp_path / "again")
    files = {str(f.relative_to(tmp_path / "again")) for f in tmp_path.glob("again/**/*.*")}
    assert files == {"config/config.yaml", "models/mine.py", "models/lib/parts.py"}
    monkeypatch.chdir(tmp_path / "again")
    (dataset,) = load_config(Path("config/config.yaml")).datasets.values()
    assert type(load_family(dataset)).__name__ == "Pointwise2"


def test_a_family_with_an_absolute_path_is_restored_into_the_folder(tmp_path: Path):
    (tmp_path / "mine.py").write_text(POINTWISE)
    made = make_run(tmp_path, family=f"{tmp_path}/mine.py:Pointwise2").merge()
    restore(made, tmp_path / "again")
    (dataset,) = load_config(tmp_path / "again/config/config.yaml").datasets.values()
    assert dataset.family == "mine.py:Pointwise2"
    assert (tmp_path / "again/mine.py").read_text() == POINTWISE


def test_a_folder_that_is_not_empty_is_refused(made: Path, tmp_path: Path):
    with pytest.raises(DataError, match="exists already"):
        restore(made, tmp_path)


@pytest.mark.parametrize("place", ["/etc/mine.py", "../mine.py", "a/../../mine.py", "mine.sh"])
def test_sources_outside_the_folder_are_refused(made: Path, tmp_path: Path, place: str):
    with h5py.File(made, "r+") as file:
        file["provenance/family"].attrs["file"] = place
    with pytest.raises(DataError, match="not a Python file below the folder"):
        restore(made, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_changed_text_is_not_restored(made: Path, tmp_path: Path):
    with h5py.File(made, "r+") as file:
        file["provenance/modules/lib/parts.py"][()] = "import os\n"
    with pytest.raises(DataError, match=r"/provenance/modules/lib/parts.py was changed"):
        restore(made, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_a_set_that_grew_is_made_again_by_its_runs(tmp_path: Path, monkeypatch):
    """With the choices of each, so that its solutions are the same bit for bit."""
    given = {
        "family": "darcy", "count": 4, "chunks": 1, "mesh": {"points": 17},
        "parameters": {"modes": 8}, "splits": {"train": 0.5, "test": 0.5},
    }  # fmt: skip
    grown = Grown(tmp_path, given)
    grown.make()
    grown.make(count=9, chunks=2)
    told = restore(grown.path, tmp_path / "again")
    one, other = told.split(" && ")
    assert one.endswith(f"--configfile {tmp_path}/again/config/1.yaml")
    assert "--configfile" not in other
    monkeypatch.chdir(tmp_path / "again")
    again = Grown(tmp_path / "again/results", {})
    again.folder.mkdir()
    for name, count, chunks in (("1", 4, 1), ("config", 9, 2)):
        (run,) = load_config(Path(f"config/{name}.yaml")).datasets.values()
        assert (run.count, run.chunks) == (count, chunks) and run.solver.replayed.exists()
        again.make(**run.model_dump())
    assert_kept(grown.rows(), again.rows(), 9)


def test_a_set_with_shifts_that_grew_is_made_again_by_its_runs(tmp_path: Path, monkeypatch):
    """Each shift has a chunk with choices of its own, which no earlier run needs."""
    given = {
        "family": "darcy", "count": 4, "chunks": 1, "mesh": {"points": 17}, "on_failure": "stop",
        "parameters": {"modes": 8}, "splits": {"train": 0.5, "test": 0.5}, "solver": {},
        "ood": {"log_deviation": 2.0, "count": 2},
    }  # fmt: skip
    make(tmp_path, **given)
    grown = make(tmp_path, **given | {"count": 9, "chunks": 2})
    restore(grown, tmp_path / "again")
    results = tmp_path / "again/results"
    results.mkdir()
    monkeypatch.chdir(results.parent)
    for name, count, chunks, shifts in (("1", 4, 1, 0), ("config", 9, 2, 1)):
        (run,) = load_config(Path(f"config/{name}.yaml")).datasets.values()
        assert (run.count, run.chunks, len(run.ood)) == (count, chunks, shifts)
        again = make(results, **run.model_dump())
    with h5py.File(grown) as one, h5py.File(again) as other:
        assert one["t0_fields/u"][:].tobytes() == other["t0_fields/u"][:].tobytes()


@pytest.mark.parametrize("activated", [True, False])
def test_the_printed_command_names_an_existing_program(
    activated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    beside = Path(sys.executable).with_name("snakemake")
    monkeypatch.setenv("PATH", str(beside.parent if activated else tmp_path))
    assert shlex.split(command(tmp_path))[0] == ("snakemake" if activated else str(beside))


@pytest.mark.slow
def test_the_printed_command_makes_the_same_bytes(folder: Path, tmp_path: Path):
    (folder / "mine.py").write_text("from parts import Mine\n")
    (folder / "parts.py").write_text("from kryloset.problems.darcy import Darcy as Mine\n")
    tree = {"datasets": {"tiny": TINY | {"family": "mine.py:Mine"}}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))
    run = snakemake("--cores", "2", "results/tiny/dataset.h5", cwd=folder)
    assert run.code == 0, run.output
    first = folder / "results/tiny/dataset.h5"

    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    told = restore(first, elsewhere / "again")
    assert " --cores all --snakefile " in told
    subprocess.run(
        [*shlex.split(told), "results/tiny/dataset.h5"],
        cwd=elsewhere,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=True,
    )
    assert (elsewhere / "again/results/tiny/dataset.h5").read_bytes() == first.read_bytes()
