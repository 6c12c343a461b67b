# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every exception of a user's family ends in one message with file, class and line."""

import subprocess
import sys
from pathlib import Path

from mpi4py import MPI

import pytest
import yaml

from kryloset.config import DatasetConfig
from kryloset.errors import KrylosetError
from kryloset.run import solve, sort

OWN = """
import os
import sys
import numpy as np
from kryloset.problems import Discretisation, Family, Variable


class Own(Family):
    summary = equation = "u = k"
    dimensions = (1,)
    parameters = (Variable("k", "k"),)
    fields = (Variable("u", "u"),)

    @property
    def coordinates(self):
        here("coordinates")
        return {"x": np.linspace(0, 1, self.mesh.points)}

    def check(self):
        here("check")

    def draw(self, generator):
        here("draw")
        return {"k": generator.uniform(size=self.mesh.points)}

    def features(self, instance):
        here("features")
        return instance["k"]

    def discretise(self, comm):
        here("discretise")
        return Copy()


class Copy(Discretisation):
    def solve(self, instances, solve):
        here("solve")
        return [{"u": instance["k"]} for instance in instances]

    def residual(self, instance, solution):
        return 0.0

    def meshes(self):
        here("meshes")
        return {}


def here(name):
    if name == "PLACE":
        RAISED
"""

PLACES = ("import", "coordinates", "check", "draw", "features", "discretise", "solve", "meshes")


def write(folder: Path, place: str, raised: str) -> DatasetConfig:
    text = OWN.replace("PLACE", place).replace("RAISED", raised)
    (folder / "own.py").write_text(text + ('\nhere("import")\n' if place == "import" else ""))
    return DatasetConfig(
        family=f"{folder}/own.py:Own", count=4, mesh={"points": 3}, splits={"train": 1.0}
    )


def run(config: DatasetConfig, folder: Path) -> None:
    order = folder / "order.h5"
    sort.run(config, "set", output=order, chunks=1)
    output = folder / "chunk.h5"
    solve.run(config, "set", order=order, chunk="1-of-1", output=output, comm=MPI.COMM_SELF)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("raised", ["sys.exit(0)", "os._exit(0)", "1 / 0", "raise GeneratorExit"])
def test_every_exception_of_a_family_is_reported_with_its_line(
    place: str, raised: str, tmp_path: Path
) -> None:
    config = write(tmp_path, place, raised)
    line = OWN.splitlines().index("        RAISED") + 1
    leaves = r"it ends the program \(sys.exit, os._exit\)"
    what = {"s": leaves, "o": leaves, "1": "ZeroDivisionError: division by zero"}
    message = rf"own.py.*line {line} of own.py: {what.get(raised[0], 'GeneratorExit')}"
    with pytest.raises(KrylosetError, match=message):
        run(config, tmp_path)
    assert not (tmp_path / "chunk.h5").exists()


@pytest.mark.parametrize("lanes", ["0", "None", "2.5"])
def test_a_discretisation_takes_one_instance_or_more(lanes: str, tmp_path: Path) -> None:
    config = write(tmp_path, "nowhere", "1 / 0")
    file, line = tmp_path / "own.py", "class Copy(Discretisation):\n"
    file.write_text(file.read_text().replace(line, f"{line}    lanes = {lanes}\n"))
    with pytest.raises(KrylosetError, match=rf"Own, lanes of its discretisation is {lanes}: take"):
        run(config, tmp_path)


def test_a_family_without_mistakes_gets_no_message(tmp_path: Path) -> None:
    run(write(tmp_path, "nowhere", "1 / 0"), tmp_path)
    assert (tmp_path / "chunk.h5").exists()


def test_the_command_line_fails_without_a_file(tmp_path: Path) -> None:
    config = write(tmp_path, "draw", "sys.exit(0)").model_dump(mode="json")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"datasets": {"set": config}}))
    command = [sys.executable, "-m", "kryloset", "sort", "c.yaml", "set", "--output", "o.h5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert "own.py:Own, draw, instance 0" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o.h5").exists()
