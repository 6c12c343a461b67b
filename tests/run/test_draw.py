# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances that several processes draw are those that one draws, and errors come back."""

from pathlib import Path

import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError, FamilyError, KrylosetError
from kryloset.run import draw, sort

#: These processes have threads of BLAS, those of the command line have not.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded")

CONFIG = DatasetConfig(count=37, chunks=3, mesh={"points": 9}, parameters={"modes": 4})
OWN = """
import os
import signal
from kryloset.errors import DataError
from kryloset.problems import SteadyFamily, Variable

class Own(SteadyFamily):
    summary = equation = "own"
    parameters = (Variable("a", "a", dimensions=()),)
    fields = (Variable("u", "u"),)
    drawn = 0
    def draw(self, generator):
        Own.drawn += 1
        a = generator.uniform()
        WRONG
        return {"a": a}
    def weak_form(self, space, parameters): ...
"""
TWENTIETH = 'if generator.bit_generator.state["state"]["key"][1] == 20:'


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two instances, so that few are enough for several processes."""
    monkeypatch.setattr(draw, "BLOCK_BYTES", 2 * 9 * 9 * 8)


@pytest.mark.parametrize("settings", [{}, {"sort": "hilbert", "features": "principal"}])
def test_the_order_does_not_depend_on_the_number_of_processes(
    settings: dict[str, str], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update=settings)
    found = []
    for threads in (1, 2, 3):
        output = tmp_path / f"{threads}.h5"
        sort.run(config, "set", output=output, threads=threads)
        with StagedFile(output) as file:
            names = ("drawn", "permutation", "bounds", "features", "steps")
            found.append([file.array(name).tobytes() for name in names])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (f"{TWENTIETH} raise DataError('no')", DataError, "instance 20: no"),
        (f"{TWENTIETH} 1 / 0", FamilyError, "Own, draw, instance 20.*ZeroDivisionError"),
        ("a = self.drawn", FamilyError, "another 'a' when it is drawn alone"),
        ("a = round(a, 1)", FamilyError, "instances .* are the same"),
        (f"{TWENTIETH} os.kill(os.getpid(), signal.SIGKILL)", KrylosetError, "was ended"),
    ],
)
def test_an_error_in_another_process_is_raised(
    wrong: str, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "BLOCK_BYTES", 16)
    (tmp_path / "own.py").write_text(OWN.replace("WRONG", wrong))
    config = CONFIG.model_copy(update={"family": f"{tmp_path}/own.py:Own", "parameters": {}})
    with pytest.raises(kind, match=message):
        sort.run(config, "set", output=tmp_path / "order.h5", threads=2)
    assert not (tmp_path / "order.h5").exists()


def test_instances_with_one_operator_are_not_sorted(tmp_path: Path) -> None:
    config = DatasetConfig(family="poisson", count=8, chunks=1, mesh={"points": 9})
    sort.run(config, "set", output=tmp_path / "order.h5")
    with StagedFile(tmp_path / "order.h5") as file:
        np.testing.assert_array_equal(file.array("permutation"), np.arange(8))
        assert file.attrs["method"] == "given" and file.attrs["features_kind"] == "none"
        assert file.array("features").shape == (8, 0) and not file.array("steps").any()
