# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset extend`: a dataset grows from its file alone."""

from pathlib import Path

import pytest
from test_growing import Grown, assert_kept, various, watched  # noqa: F401  (a fixture)

from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.run import check, extend, merge

FAMILY = Path(__file__).parent / "various.py"


@pytest.fixture
def alone(tmp_path: Path) -> Grown:
    """A dataset without the other files of its run, whose family is elsewhere."""
    (tmp_path / "own.py").write_text(FAMILY.read_text())
    made = various(tmp_path / "made", "Various")
    made.make(family=f"{tmp_path}/own.py:Various")
    (tmp_path / "alone").mkdir()
    found = Grown(tmp_path / "alone", made.given)
    made.path.rename(found.path)
    return found


def test_an_extension_is_what_the_workflow_makes(alone: Grown, watched):  # noqa: F811
    before = alone.rows()
    watched(alone)
    said = extend.run(alone.path, count=7)
    assert "7 instances, of which 4 were kept" in said
    assert sorted(alone.solved) == [4, 5, 6]
    assert_kept(before, alone.rows(), 4)
    assert check.run(alone.path).passed
    assert [path.name for path in alone.folder.iterdir()] == ["dataset.h5"]
    whole = various(alone.folder.parent / "whole", "Various", count=7)
    whole.make()
    same = {name: rows for name, rows in whole.rows().items() if "solver" not in name}
    assert_kept(same, alone.rows(), 7)
    alone.solved.clear()
    extend.run(alone.path, count=3, grids=[9])
    assert not alone.solved
    with Dataset(alone.path) as data:
        assert len(data) == 3 and data.config.mesh.grids == (3, 9)
    assert check.run(alone.path).passed


def test_a_killed_extension_goes_on(alone: Grown, watched, monkeypatch):  # noqa: F811
    before, held = alone.rows(), alone.path.read_bytes()
    run = merge.run
    monkeypatch.setattr(merge, "run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extend.run(alone.path, count=6)
    assert alone.path.read_bytes() == held
    monkeypatch.setattr(merge, "run", run)
    watched(alone)
    extend.run(alone.path, count=6)
    assert not alone.solved and not alone.drawn.count(4) > 1
    assert_kept(before, alone.rows(), 4)
    assert [path.name for path in alone.folder.iterdir()] == ["dataset.h5"]


def test_a_family_in_the_file_runs_only_if_it_may(alone: Grown, tmp_path: Path):
    (tmp_path / "own.py").unlink()
    with pytest.raises(DataError, match="give --run-family to run the text in the file"):
        extend.run(alone.path, count=6)
    extend.run(alone.path, count=6, run_family=True)
    with Dataset(alone.path) as data:
        assert len(data) == 6 and {*data.family_sources()} == {"own.py"}


def test_what_cannot_be_extended_is_told(alone: Grown):
    with pytest.raises(ConfigError, match="name another count or a new grid"):
        extend.run(alone.path, count=4, grids=[3])
    with pytest.raises(ConfigError, match=r"splits.train 0.5 of count 1 is less than an instance"):
        extend.run(alone.path, count=1)
    with pytest.raises(ConfigError, match="a grid of 4 x 7 x 2 points has 3 axes, and the dataset"):
        extend.run(alone.path, grids=[(4, 7, 2)])
    assert [path.name for path in alone.folder.iterdir()] == ["dataset.h5"]
    (alone.folder / "order.h5").touch()
    with pytest.raises(DataError, match="raise `count` of set in its configuration"):
        extend.run(alone.path, count=6)
