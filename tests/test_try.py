# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset try` compares the declared traits of a family with its matrices."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from documentation import ROOT
from kryloset.cli import app
from kryloset.config import parse_points
from kryloset.errors import ConfigError, FamilyError
from kryloset.library import trial

#: A family with fields for its traits, its bilinear form and its boundary.
OWN = """
import ufl

from kryloset.problems import OperatorTraits, SteadyFamily, Variable, WeakForm


class Own(SteadyFamily):
    summary = "A plate"
    equation = "an equation"
    parameters = (Variable("k", "conductivity"), Variable("s", "source", dimensions=()))
    fields = (Variable("u", "temperature", "K"),)
    operator = OperatorTraits({traits})

    def draw(self, generator):
        points = (self.mesh.points, self.mesh.points)
        return {{"k": generator.uniform(1, 2, points), "s": generator.uniform(1, 2)}}

    def weak_form(self, space, parameters):
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        k, s = parameters["k"], parameters["s"]
        return WeakForm(({form}) * ufl.dx, {source} * v * ufl.dx)
"""
DIFFUSION = "k * ufl.inner(ufl.grad(u), ufl.grad(v))"


def write(folder: Path, traits: str, form: str = DIFFUSION, source: str = "s") -> str:
    """Write such a family, and return its name."""
    path = folder / "own.py"
    path.write_text(OWN.format(traits=traits, form=form, source=source))
    return f"{path}:Own"


def test_try_draws_solves_and_saves_a_picture(tmp_path):
    name = write(tmp_path, "symmetric=True, definite=True")
    picture = tmp_path / "own.png"
    command = ["try", name, "--points", "9", "--seed", "3", "--picture", str(picture)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "instance 0 of seed 3, 9 x 9 points" in done.output
    assert "Everything fits." in done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_points_may_differ_between_axes(tmp_path):
    name = write(tmp_path, "symmetric=True, definite=True")
    refused = CliRunner().invoke(app, ["try", name, "--points", "9x5"])
    assert isinstance(refused.exception, ConfigError)
    assert "mesh.points [9, 5]" in str(refused.exception)
    command = [
        "try",
        "darcy",
        "--points",
        "9x5",
        "--setting",
        "modes=4",
        "--setting",
        "placement=cells",
        "--picture",
        str(tmp_path / "darcy.png"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "instance 0 of seed 0, 9 x 5 points" in done.output
    with pytest.raises(ConfigError, match="points '9,5' are not whole numbers"):
        parse_points("9,5")


@pytest.mark.parametrize(
    ("traits", "form", "wrong"),
    [
        ("symmetric=True", f"{DIFFUSION} + u.dx(0) * v", {"symmetric"}),
        ("symmetric=True, definite=True", f"{DIFFUSION} - 90 * u * v", {"definite"}),
        ("definite=True", f"{DIFFUSION} + 9 * u.dx(0) * v", set()),
        ("saddle_point=True", DIFFUSION, {"saddle_point"}),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_false_traits_are_faults(traits, form, wrong, tmp_path):
    found = trial.run(write(tmp_path, traits, form), {"points": 9})
    assert {trait.name for trait in found.traits if trait.wrong} == wrong
    assert len(found.faults) == len(wrong)
    text = trial.describe(found)
    assert all(f"Mend: {name} does not hold" in text for name in wrong)
    assert ("Everything fits." in text) == (not wrong)


@pytest.mark.parametrize("draw", ["uniform(1, 2, points)", "uniform() * np.ones(points) + x"])
def test_a_parameter_that_jumps_where_an_axis_closes_is_a_fault(draw, tmp_path):
    """One that is rough everywhere is none."""
    name = write(tmp_path, "symmetric=True, definite=True")
    file = tmp_path / "own.py"
    x = "x = np.linspace(0, 3, points[0])[:, None]"
    text = file.read_text().replace("uniform(1, 2, points)", draw, 1)
    text = text.replace("        return {", f"        {x}\n        return {{", 1)
    text = text.replace("    operator", '    may_be_periodic = ("x",)\n    operator', 1)
    file.write_text(f"import numpy as np\n{text}")
    faults = trial.run(name, {"points": 12, "periodic": ["x"]}).faults
    assert [fault.split(" by ")[0] for fault in faults] == ["k jumps"] * ("x" in draw)


def test_the_command_fails_if_there_is_a_fault(tmp_path):
    name = write(tmp_path, "symmetric=True", f"{DIFFUSION} + u.dx(0) * v")
    command = ["try", name, "--points", "9", "--picture", str(tmp_path / "own.png")]
    assert CliRunner().invoke(app, command).exit_code == 1


def test_false_traits_of_the_form_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="declared constant"):
        trial.run(write(tmp_path, "constant=True", f"k * {DIFFUSION}"), {"points": 9})
    with pytest.raises(FamilyError, match="does not map constants to zero"):
        trial.run(write(tmp_path, "nullspace='constants'"), {"points": 9})
    with pytest.raises(ConfigError, match="'x' has no value: write it as KEY=VALUE"):
        trial.read_settings(["points=9", "x"])


def test_undeclared_traits_are_suggested(tmp_path):
    found = trial.run(write(tmp_path, "", f"k * {DIFFUSION}"), {"points": 9})
    advice = {trait.name: trait.advice for trait in found.traits if trait.advice}
    assert set(advice) == {"symmetric", "definite"}
    constant = "ufl.inner(ufl.grad(u), ufl.grad(v))"
    found = trial.run(write(tmp_path, "", constant, source="k * s"), {"points": 9})
    assert "constant" in {trait.name for trait in found.traits if trait.advice}


def read_family(name: str) -> tuple[str, dict]:
    """Return a family of the package with the settings of its small dataset."""
    text = (ROOT / f"config/families/{name}.yaml").read_text()
    (dataset,) = yaml.safe_load(text)["datasets"].values()
    return dataset["family"], dataset.get("mesh", {}) | dataset.get("parameters", {})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.stem for p in ROOT.glob("config/families/*.yaml")))
def test_built_in_families_have_no_faults(name, tmp_path):
    family, settings = read_family(name)
    found = trial.run(family, settings)
    assert found.faults == [], trial.describe(found)
    assert [trait.name for trait in found.traits if trait.advice] == []
    assert trial.draw_picture(found, tmp_path / "picture.png")
