# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset says who made it, when, by which commit and by which choices."""

import json
import subprocess
from pathlib import Path

from mpi4py import MPI

import h5py
import pytest
from pointwise_runs import make_run

from kryloset import provenance
from kryloset.config import DatasetConfig, load_config
from kryloset.dataset.description import describe
from kryloset.dataset.integrity import SEALS, Digests, read_seals
from kryloset.dataset.origin import Earlier, dump_earlier
from kryloset.dataset.reader import Dataset
from kryloset.dataset.restore import restore
from kryloset.errors import ConfigError, KrylosetError
from kryloset.run import check, solve, sort
from kryloset.run.report import run as report
from merging import merge_verified

ABOUT = {
    "title": "Divisions",
    "creator": "A. Author",
    "license": "cc-by-4.0",
    "references": "https://doi.org/10.1000/182",
}


def test_about_is_in_the_file_and_on_the_page(tmp_path):
    path = make_run(tmp_path, about=ABOUT).merge()
    with h5py.File(path) as file:
        told = {name: file.attrs[name] for name in ("title", "summary", "creator_name", "license")}
        assert file.attrs["references"] == ABOUT["references"]
    assert told == {
        "title": "Divisions", "summary": "Pointwise division", "creator_name": "A. Author",
        "license": "CC-BY-4.0",
    }  # fmt: skip
    assert check.run(path).passed
    assert "licence     CC-BY-4.0" in describe(path)
    report(path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "A. Author" in page and "<h1>Pointwise division</h1>" in page


def test_what_says_no_text_about_the_code_is_refused(tmp_path):
    path = make_run(tmp_path).merge()
    for wrong in (b"\xff\xfe", 1, "two\nlines"):
        with h5py.File(path, "r+") as file:
            file["provenance/code"].attrs["solve"] = wrong
        with pytest.raises(KrylosetError, match=r"/provenance/code has the attribute 'solve'"):
            report(path, tmp_path / "page.html")


def test_a_licence_is_one_of_spdx():
    assert (
        DatasetConfig(about={"license": "mit OR apache-2.0"}).about.license == "MIT OR Apache-2.0"
    )
    for wrong in ("CC-BY", "free", "MIT\n", ""):
        with pytest.raises(ValueError, match=r"SPDX|one line"):
            DatasetConfig(about={"license": wrong})


def test_without_the_keys_the_configuration_is_as_before():
    assert not {"about", "refinement"} & DatasetConfig().model_dump(mode="json").keys()


def test_the_time_of_making_is_in_no_digest(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    found = {}
    for seconds in ("0", "1"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
        with h5py.File(run.merge(f"{seconds}.h5")) as file:
            found[str(file.attrs["date_created"])] = read_seals(file)
    assert list(found) == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]
    one, other = found.values()
    assert one == other
    assert (tmp_path / "0.h5").read_bytes() != (tmp_path / "1.h5").read_bytes()
    assert run.merge("again.h5").read_bytes() == (tmp_path / "1.h5").read_bytes()


def test_a_wrong_time_is_refused(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(KrylosetError, match="SOURCE_DATE_EPOCH is 'today'"):
        provenance.time_of_making()


def test_the_commit_is_that_of_the_clone_and_says_whether_the_code_was_changed(
    tmp_path, monkeypatch
):
    package = tmp_path / "src/kryloset"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    assert provenance.commit() == {}
    (package / "a.py").touch()
    git = ["git", "-C", tmp_path, "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    clean = provenance.commit()["commit"]
    assert len(clean) == 40
    (tmp_path / "notes").touch()
    assert provenance.commit() == {"commit": clean}
    (package / "a.py").write_text("1")
    assert provenance.commit() == {"commit": f"{clean} (changed)"}
    # Installed inside of a repository of something else.
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path / "lib/site-packages/kryloset")
    assert provenance.commit() == {}


def make(folder: Path, policy: str) -> Path:
    """Make a small dataset with automatic selection."""
    config = DatasetConfig.model_validate(
        {
            "count": 20, "chunks": 1, "mesh": {"points": 9}, "parameters": {"modes": 4},
            "solver": {"policy": policy}, "splits": {"train": 1.0},
        }
    )  # fmt: skip
    folder.mkdir()
    order, chunk = folder / "order.h5", folder / "1-of-1.h5"
    sort.run(config, "small", output=order)
    solve.run(config, "small", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    return merge_verified(config, "small", order=order, chunks=[chunk], output=folder / "d.h5")


def test_a_dataset_replays_what_it_was_made_by(tmp_path):
    first = make(tmp_path / "one", "measure")
    with Dataset(first) as data:
        choices = data.choices()
    assert json.loads(choices) == json.loads((tmp_path / "one/choices.json").read_text())
    again = make(tmp_path / "two", f"replay {first}")
    with Dataset(again) as data, Dataset(first) as before:
        assert data.choices() == choices
        for path in ("t0_fields/u", "solver/way"):
            assert data.file[path][:].tobytes() == before.file[path][:].tobytes()


def test_a_dataset_is_restored_with_the_choices_of_each_of_its_runs(tmp_path):
    first = make(tmp_path / "one", "measure")
    restore(first, tmp_path / "again")
    (restored,) = load_config(tmp_path / "again/config/config.yaml").datasets.values()
    assert restored.solver.policy == "replay choices.json"
    with Dataset(first) as data:
        told = data.provenance()
        assert (tmp_path / "again/choices.json").read_text() == data.choices()
    runs = [Earlier(4, told.code, told.versions, None)]
    with h5py.File(first, "r+") as file:
        file["provenance/earlier"] = dump_earlier(runs)
        del file[SEALS]
        digests = Digests()
        for name in ("config", "choices", "earlier"):
            digests.add(f"provenance/{name}", file[f"provenance/{name}"][()])
        digests.seal(file)
    restore(first, tmp_path / "grown")
    for name, policy in (("1", "measure"), ("config", "replay choices.json")):
        (restored,) = load_config(tmp_path / f"grown/config/{name}.yaml").datasets.values()
        assert restored.solver.policy == policy
    with pytest.raises(KrylosetError, match="several runs made the dataset"):
        make(tmp_path / "two", f"replay {first}")


def test_a_dataset_of_a_fixed_solver_has_nothing_to_replay(tmp_path):
    run = make_run(tmp_path)  # whose chunks have no choices
    with Dataset(run.merge()) as data:
        assert data.choices() is None
    with pytest.raises(KrylosetError, match="has no choices, since its solver was fixed"):
        make(tmp_path / "again", f"replay {tmp_path / 'dataset.h5'}")


def test_a_family_that_cannot_be_refined_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"refinement.instances: Pointwise2 .* not discretised"):
        make_run(tmp_path, refinement={"instances": 1})
