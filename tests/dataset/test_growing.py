# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset grows and shrinks: instances that are there are kept, and none is solved again."""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from pointwise_runs import FAMILY, changed
from various_runs import FAMILIES

from kryloset.config import DatasetConfig
from kryloset.dataset.description import describe
from kryloset.dataset.integrity import TABLES, read_seals
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems.checks.drawing import Drawing
from kryloset.run import check, files, keeping, kept, solve, sort, verify
from kryloset.run.checks.contents import Finite
from kryloset.run.checks.recomputed import Residuals
from merging import merge_verified

#: Arrays that say where an instance was solved in the last run.
PLACES = {"position", "chunk", "way"}
SLOW = pytest.mark.slow


@dataclass
class Grown:
    """A folder in which a dataset is made again and again, with other configurations."""

    folder: Path
    given: dict
    config: DatasetConfig = field(init=False)
    drawn: list[int] = field(default_factory=list)
    solved: list[int] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The dataset."""
        return self.folder / "dataset.h5"

    def sort(self, **changes) -> None:
        """Draw and sort."""
        self.given |= changes
        self.config = DatasetConfig(**self.given)
        order = self.folder / "order.h5"
        sort.run(self.config, "set", output=order, earlier=self.path)

    def solve(self) -> list[Path]:
        """Solve all chunks."""
        chunks = range(1, self.config.chunks + 1)
        paths = [self.folder / "chunks" / f"{i}-of-{self.config.chunks}.h5" for i in chunks]
        for path in paths:
            path.unlink(missing_ok=True)  # as Snakemake does
            solve.run(
                self.config, "set", order=self.folder / "order.h5", chunk=path.stem, output=path,
                comm=MPI.COMM_SELF,
            )  # fmt: skip
        return paths

    def make(self, **changes) -> Path:
        """Make the dataset, as the workflow does."""
        self.drawn.clear()
        self.solved.clear()
        self.sort(**changes)
        paths, order = self.solve(), self.folder / "order.h5"
        return merge_verified(self.config, "set", order=order, chunks=paths, output=self.path)

    def rows(self) -> dict[str, np.ndarray]:
        """Return the digests of all rows and the records of all solves, by instance."""
        with h5py.File(self.path) as file:
            found = {f"solver/{k}": a[:] for k, a in file["solver"].items() if k not in PLACES}
            names: list[str] = []
            file[TABLES].visit(names.append)
            tables = [n for n in names if isinstance(file[TABLES][n], h5py.Dataset)]
            return found | {n: file[TABLES][n][:] for n in tables if n != "byte"}


@pytest.fixture
def watched(monkeypatch):
    """Return a function that makes a `Grown` note which instances are drawn and solved."""

    def watch(grown: Grown) -> Grown:
        solve_group, draw = solve.solve_group, Drawing.__call__

        def solving(discretisation, solver, state, instances, redraw):
            grown.solved += [number for number, _ in instances]
            return solve_group(discretisation, solver, state, instances, redraw)

        def drawing(self, seed, index):
            grown.drawn.append(index)
            return draw(self, seed, index)

        monkeypatch.setattr(solve, "solve_group", solving)
        monkeypatch.setattr(Drawing, "__call__", drawing)
        return grown

    return watch


def various(folder: Path, family: str, **settings) -> Grown:
    """Return a dataset with everything that a file can hold, which is not made yet."""
    given = {"family": f"{FAMILIES}:{family}", "count": 4, "chunks": 2, "seed": 3}
    given |= {"mesh": {"points": 5, "grids": [3]}, "splits": {"train": 0.5, "test": 0.5}}
    return Grown(folder, given | settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """A small dataset: a field, a profile and a number, and no PDE."""
    given = {"family": FAMILY.format(1), "count": 4, "chunks": 1, "seed": 3}
    given |= {"mesh": {"points": 5}, "splits": {"train": 0.5, "test": 0.5}}
    given |= {"solver": {"method": "gmres"}}  # which makes no choices
    grown = Grown(tmp_path_factory.mktemp("made"), given)
    grown.make()
    return grown


@pytest.fixture
def small(made: Grown, tmp_path: Path) -> Grown:
    """A copy of it, which a test may change."""
    folder = tmp_path / "set"
    shutil.copytree(made.folder, folder)
    return Grown(folder, dict(made.given))


def assert_kept(before: dict[str, np.ndarray], after: dict[str, np.ndarray], count: int) -> None:
    for name, rows in before.items():
        np.testing.assert_array_equal(after[name][:count], rows[:count], err_msg=name)


KINDS = ["Various", pytest.param("Meshed", marks=SLOW), pytest.param("Moving", marks=SLOW)]


@pytest.mark.parametrize("family", KINDS)
def test_a_larger_count_keeps_what_is_there_bit_for_bit_and_solves_the_others(
    tmp_path: Path, watched, family: str
):
    """Vectors, own axes, masks, a mesh for each instance, trajectories, further grids."""
    grown = watched(various(tmp_path, family))
    grown.make()
    before = grown.rows()
    grown.make(count=7)
    assert sorted(grown.solved) == [4, 5, 6]
    # The first and the last are drawn to see that they still are the same.
    assert {*grown.drawn} == {0, 3, 4, 5, 6}
    assert_kept(before, grown.rows(), 4)
    assert check.run(grown.path).passed
    timings = json.loads((tmp_path / "timings.json").read_text())["instances"]
    assert all(not any(seconds[:4]) for seconds in timings.values())
    told = json.loads((tmp_path / "check.json").read_text())["checks"]
    assert any("4 were kept" in one["detail"] for one in told)
    # The second name that the earlier dataset had is gone.
    assert not (tmp_path / keeping.LINK).exists()


@pytest.mark.parametrize("family", [pytest.param("Various", marks=SLOW), "Meshed"])
def test_a_smaller_count_keeps_the_first_and_solves_nothing(tmp_path: Path, watched, family: str):
    grown = watched(various(tmp_path, family, count=7))
    grown.make()
    before = grown.rows()
    grown.make(count=4)
    assert not grown.solved
    assert_kept(before, grown.rows(), 4)
    assert check.run(grown.path).passed


@pytest.mark.parametrize(
    "family", [pytest.param("Various", marks=SLOW), pytest.param("Meshed", marks=SLOW), "Moving"]
)
def test_a_grid_that_comes_later_is_evaluated_and_nothing_is_solved(
    tmp_path: Path, watched, monkeypatch, family: str
):
    grown = watched(various(tmp_path, family))
    grown.make()
    before, checked, add = grown.rows(), set(), Finite.add

    def counted(self, group):
        checked.update(group.numbers.tolist())
        add(self, group)

    monkeypatch.setattr(Finite, "add", counted)
    grown.make(mesh={"points": 5, "grids": [9, 3]})
    assert not grown.solved
    # Values on the new grid are checked as those of instances that are solved.
    assert checked == {0, 1, 2, 3}
    assert_kept(before, grown.rows(), 4)
    assert any(name.startswith("grid_9") for name in grown.rows())
    assert check.run(grown.path).passed
    # A grid that goes takes its arrays with it.
    grown.make(mesh={"points": 5, "grids": []})
    assert not [name for name in grown.rows() if name.startswith("grid")]


def test_a_set_that_changes_twice_says_who_made_what(small: Grown, watched):
    grown = watched(small)
    before = grown.rows()
    grown.make(count=7)
    grown.make(count=6)
    grown.make(count=9)
    assert sorted(grown.solved) == [6, 7, 8]
    assert_kept(before, grown.rows(), 4)
    with Dataset(grown.path) as data:
        runs, versions = data.provenance().earlier, data.provenance().versions
    assert [run.instances for run in runs] == [4, 6]
    assert all(run.versions == versions for run in runs)
    assert "instances 4 to 5 by " in describe(grown.path)
    assert check.run(grown.path).passed


@pytest.mark.slow
def test_parameters_and_solutions_are_those_of_a_set_made_at_once(tmp_path: Path):
    grown = various(tmp_path / "grown", "Various")
    grown.make()
    grown.make(count=7, chunks=3)
    whole = various(tmp_path / "whole", "Various", count=7)
    whole.make()
    one, other = grown.rows(), whole.rows()
    same = {name for name in one if "solver" not in name}
    assert_kept({name: other[name] for name in same}, one, 7)


def test_what_is_the_same_in_everything_is_copied_byte_for_byte(small: Grown, watched):
    """As after a change of the configuration that was taken back."""
    grown = watched(small)
    with h5py.File(small.path) as file:
        before = read_seals(file)
    grown.make()
    assert not grown.solved
    with h5py.File(small.path) as file:
        assert read_seals(file) == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seed": 4}, "another seed"),
        ({"solver": {"tolerance": 1e-4}}, "another solver"),
        ({"mesh": {"points": 6}}, "another mesh"),
        ({"family": FAMILY.format(2)}, "its family is"),
    ],
)
def test_nothing_is_kept_of_a_set_with_other_solutions(small: Grown, caplog, changes, why: str):
    with caplog.at_level(logging.WARNING):
        small.sort(count=5, **changes)
    assert why in caplog.text
    with h5py.File(small.folder / "order.h5") as order:
        assert files.KEPT not in order


def test_another_order_or_other_code_alone_solves_again(small: Grown, caplog, monkeypatch):
    small.sort(sort="given")
    assert "its order was another" in caplog.text
    monkeypatch.setattr(kept, "stage_identity", lambda *_: "other")
    small.sort(sort="auto")
    assert "the code has changed since it was made" in caplog.text


def test_another_storage_alone_solves_again_and_another_precision_keeps_nothing(
    small: Grown, caplog
):
    small.sort(storage={"compression": "always"})
    assert "it was stored otherwise" in caplog.text
    small.sort(count=5, storage={"compression": "always"})
    with h5py.File(small.folder / "order.h5") as order:
        assert files.kept(None) in order
    small.sort(count=5, storage={"precision": "float32"})
    assert "it has another storage" in caplog.text


def test_another_text_of_a_family_keeps_nothing(small: Grown, tmp_path: Path, caplog):
    own, (path, _, name) = tmp_path / "pointwise.py", small.given["family"].rpartition(":")
    own.write_text(Path(path).read_text())
    small.sort(count=5, family=f"{own}:{name}")
    assert not caplog.text
    own.write_text(own.read_text() + "\n# another text\n")
    small.sort(count=5)
    assert "the file of its family had another text" in caplog.text


@pytest.mark.parametrize("number", [0, 2])
def test_instances_that_are_now_drawn_otherwise_are_not_kept(
    small: Grown, watched, caplog, monkeypatch, number: int
):
    """As by a version of the package with another distribution, which other code may have."""
    draw = Drawing.__call__

    def other(self, seed, index):
        found = draw(self, seed, index)
        return found | {"k": found["k"] + (index == number)}

    monkeypatch.setattr(Drawing, "__call__", other)
    monkeypatch.setattr(kept, "stage_identity", lambda *_: "other")
    grown = watched(small)
    grown.make(count=5)
    assert f"instance {number} is now drawn otherwise" in caplog.text
    assert sorted(grown.solved) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("same", [True, False])
def test_checks_of_kept_instances_are_repeated_where_other_code_solved_them(
    small: Grown, monkeypatch, same: bool
):
    seen: list[int] = []
    add = Residuals.add

    def counted(self, group):
        seen.extend(group.numbers.tolist())
        add(self, group)

    monkeypatch.setattr(Residuals, "add", counted)
    if not same:
        monkeypatch.setattr(verify, "stage_identity", lambda *_: "other")
    small.make(count=6)
    assert sorted(seen) == ([4, 5] if same else [0, 1, 2, 3, 4, 5])


def test_a_kept_row_that_is_not_the_earlier_one_is_named(small: Grown):
    small.sort(count=6)
    (chunk,) = small.solve()
    order, output = small.folder / "order.h5", small.folder / "verified.json"
    for array in ("fields/u", "parameters/k", "parameters/nu", "solver/iterations"):
        forged = shutil.copy(chunk, small.folder / "forged.h5")
        with changed(forged) as file:
            row = file["instance"][:].tolist().index(2)
            file[array][row] += 1
        with pytest.raises(DataError, match=r"kept: .*: instance 2: its digest differs"):
            verify.run(small.config, order=order, chunk=forged, output=output)


def test_a_damaged_earlier_dataset_is_not_copied(small: Grown):
    with h5py.File(small.path) as file:
        place = file["t0_fields/u"].id.get_chunk_info(2).byte_offset
    with small.path.open("r+b") as raw:
        raw.seek(place + 8)
        raw.write(b"\xff\xff")
    small.sort(count=6)
    with pytest.raises(DataError, match=r"cannot be kept: .*row 2 of t0_fields/u was changed"):
        small.solve()


def test_an_earlier_dataset_is_found_under_its_second_name(small: Grown, watched):
    """Snakemake removes the first one before it merges, and a kill may come then."""
    grown, before = watched(small), small.rows()
    grown.sort(count=6)
    grown.path.unlink()
    grown.make(count=5)
    assert sorted(grown.solved) == [4]
    assert_kept(before, grown.rows(), 4)


def test_an_order_that_keeps_instances_which_are_gone_is_told(small: Grown):
    small.sort(count=6)
    for name in ("dataset.h5", keeping.LINK):
        (small.folder / name).unlink()
    with pytest.raises(DataError, match=r"is gone: remove .*order.h5 to draw, sort and solve"):
        small.solve()


def test_an_interrupted_growth_goes_on(small: Grown, watched, monkeypatch):
    grown, before = watched(small), small.rows()
    grown.sort(count=9)
    write = solve.write_chunk
    monkeypatch.setattr(solve, "write_chunk", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        grown.solve()
    assert len(grown.solved) == 5
    monkeypatch.setattr(solve, "write_chunk", write)
    grown.make()
    assert not grown.solved
    assert_kept(before, grown.rows(), 4)
    assert check.run(grown.path).passed


def test_a_chunk_that_is_lost_after_growing_keeps_the_same_rows(small: Grown, watched):
    grown = watched(small)
    grown.make(count=7)
    before = grown.rows()
    grown.solved.clear()
    paths, order = grown.solve(), grown.folder / "order.h5"
    assert sorted(grown.solved) == [4, 5, 6]
    merge_verified(grown.config, "set", order=order, chunks=paths, output=grown.path)
    assert_kept(before, grown.rows(), 7)


def test_another_solver_after_growing_solves_all(small: Grown, watched):
    """The order stays, and says which instances were kept."""
    grown = watched(small)
    grown.make(count=6)
    grown.solved.clear()
    grown.config = DatasetConfig(**grown.given | {"solver": {"tolerance": 1e-4}})
    paths, order = grown.solve(), grown.folder / "order.h5"
    assert len(grown.solved) == 6
    merge_verified(grown.config, "set", order=order, chunks=paths, output=grown.path)
    with Dataset(grown.path) as data:
        assert not data.provenance().earlier
    assert check.run(grown.path).passed


@pytest.mark.slow
def test_a_recycling_solver_goes_on_from_what_it_solves_itself(tmp_path: Path, watched):
    """Predecessors are instances that were solved just before; those of kept ones are kept."""
    given = {
        "count": 6, "chunks": 2, "mesh": {"points": 9}, "parameters": {"modes": 8},
        "solver": {"method": "gcrodr", "restart": 10, "recycle": 4},
        "splits": {"train": 0.5, "test": 0.5},
    }  # fmt: skip
    grown = watched(Grown(tmp_path, given))
    grown.make()
    before = grown.rows()
    grown.make(count=10)
    after = grown.rows()
    assert_kept(before, after, 6)
    # Each chunk begins with nothing to recycle.
    assert (after["solver/predecessor"][6:] >= 6).sum() == 2
    assert check.run(grown.path).passed
    grown.make(count=5)
    assert not grown.solved
    assert (grown.rows()["solver/predecessor"] < 5).all()
    assert check.run(grown.path).passed
