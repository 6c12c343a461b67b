# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Configurations are checked with messages for people, and generated files are up to date."""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from kryloset.config import (
    Config,
    DatasetConfig,
    SolverConfig,
    dump_dataset,
    load_config,
    parse_config,
)
from kryloset.config.render import render_files
from kryloset.errors import ConfigError
from kryloset.krylov.names import SKR
from kryloset.problems import resolve_families
from kryloset.run.solver import fixed_solver

ROOT = Path(__file__).parents[1]
CONFIGS = [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]


def of_dataset(**changes: Any) -> dict[str, Any]:
    """Return a configuration of one dataset."""
    return {"datasets": {"one": changes}}


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ({"datasets": {}}, ["datasets", "at least 1"]),
        ({"datsets": {}}, ["datsets", "no such key"]),
        ({"datasets": {"A b": {}}}, ["datasets.A b", "lower-case letters"]),
        (of_dataset(cuont=3), ["datasets.one.cuont", "no such key: is `count` meant?"]),
        (of_dataset(tolerence=3), ["is `solver.tolerance` meant?"]),
        (
            of_dataset(training={"grid": 33}),
            ["training.grid: no such", "is `training.grids` meant"],
        ),
        (of_dataset(mesh={"grid": [33]}), ["datasets.one.mesh.grid", "is `mesh.grids` meant?"]),
        (of_dataset(solver={"conut": 3}), ["is `count` meant?"]),
        (of_dataset(zzz=3), ["datasets.one.zzz: no such key; `kryloset config` lists all"]),
        (of_dataset(training={"model": 3}), ["datasets.one.training.model: Input should be"]),
        (of_dataset(count=-3), ["datasets.one.count", "greater than or equal to 1", "-3"]),
        (of_dataset(count=0), ["datasets.one.count", "greater than or equal to 1"]),
        (of_dataset(count="many"), ["datasets.one.count", "integer", "many"]),
        (of_dataset(count=4), ["splits", "less than an instance", "draw 8"]),
        (of_dataset(chunks=65), ["datasets.one", "chunks 65", "at most 64"]),
        (of_dataset(mesh={"points": -64}), ["datasets.one.mesh.points", "-64"]),
        (of_dataset(mesh={"points": [65, 64], "degree": 2}), ["points 64", "odd number", "65"]),
        (of_dataset(mesh={"grids": [[9, 5], [9, 5]]}), ["repeats a grid"]),
        (of_dataset(mesh={"points": 64, "grids": [[64, 64]]}), ["or names that of points 64"]),
        (of_dataset(training={"grids": [33]}), ["training.grids: 33 is not in mesh.grids: it is"]),
        (of_dataset(mesh={"grids": [33]}, training={"grids": [[9, 5]]}), ["[9, 5]", "has [33]"]),
        (of_dataset(training={"grids": [64, [64, 64]]}), ["names a grid twice"]),
        (of_dataset(mesh={"grids": [33, [33, 33]], "spacing": "chebyshev"}), ["repeats a grid"]),
        (of_dataset(mesh={"sides": [1, 0]}), ["datasets.one.mesh.sides.1", "0.000001"]),
        (of_dataset(mesh={"spacing": "chebychev"}), ["'chebychev' is no spacing", "chebyshev"]),
        (of_dataset(mesh={"spacing": {"walls": 1}}), ["is no spacing", "above 1"]),
        (of_dataset(mesh={"spacing": [0, 0.5, 0.4, 1]}), ["is no spacing", "ascend"]),
        (of_dataset(mesh={"degree": 3}), ["datasets.one.mesh.degree", "1 or 2"]),
        (of_dataset(solver={"tolerance": 1}), ["datasets.one.solver.tolerance", "less than 1"]),
        (of_dataset(solver={"tolerance": 0}), ["datasets.one.solver.tolerance", "greater than 0"]),
        (
            of_dataset(solver={"method": "direct", "refresh": "rental"}),
            ["solver", "refresh rental", "take cg or gmres"],
        ),
        (of_dataset(solver={"policy": "replay"}), ["solver.policy", "replay"]),
        (
            of_dataset(solver={"method": "cg", "policy": "replay choices.json"}),
            ["solver", "makes no choices"],
        ),
        (of_dataset(solver={"method": "magic"}), ["solver.method", "gcrodr", "magic"]),
        (of_dataset(solver={"recycle": 40}), ["recycle 40", "restart 40", "20"]),
        (
            of_dataset(solver={"method": "skr", "preconditioner": "icc"}),
            ["solver", "preconditioner icc contradicts method skr", "take method gcrodr"],
        ),
        (of_dataset(solver={"method": "skr", "recycle": 10}), ["solver", "recycle 20"]),
        (
            of_dataset(solver={"method": "skr"}, sort="hilbert"),
            ["sort hilbert contradicts solver.method skr"],
        ),
        (
            of_dataset(solver={"method": "cg", "petsc_options": {"ksp_rtol": 1}}),
            ["solver", "petsc_options ksp_rtol", "use the setting tolerance"],
        ),
        (of_dataset(solver={"petsc_options": {"pc_sor_its": 1}}), ["solver", "name a method"]),
        (of_dataset(splits={"train": 0.5}), ["splits sum to 0.5"]),
        (of_dataset(splits={"test": 1.0}), ["splits has no `train`"]),
        (
            of_dataset(splits={"train": 1, "test": 1e-320}),
            ["splits.test", "or equal to 0.000000001"],
        ),
        (of_dataset(family="a/" * 2100 + "own.py:Own"), ["family", "take a shorter path"]),
        (of_dataset(seed=2**64), ["datasets.one.seed"]),
        ({"pathvars": {"result": "there"}}, ["pathvars.result", "'results'"]),
        ([1, 2], ["(top level)"]),
    ],
)
def test_invalid_values_are_refused_by_key(tree: object, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(tree, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml cannot be run:")
    assert all(part in message for part in parts), message


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(of_dataset(count=-1, seed="x", solver={"restart": 1}))
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize(
    ("family", "parameters", "parts"),
    [
        ("dracy", {}, ["datasets.one", "'dracy' is unknown", "darcy"]),
        ("darcy", {"modse": 3}, ["datasets.one", "modse", "is `modes` meant?"]),
        ("darcy", {"length": -1}, ["datasets.one", "length", "greater than 0"]),
        ("nowhere.py:Heat", {}, ["no file nowhere.py"]),
        ("broken.py:Heat", {}, ["broken.py cannot be imported", "ZeroDivisionError"]),
        ("empty.py:Heat", {}, ["no class 'Heat'"]),
        ("leaves.py:Heat", {}, ["leaves.py cannot be imported, line 2 of leaves.py", "sys.exit"]),
        ("half.py:Half", {}, ["lacks draw, weak_form, summary, equation, parameters, fields"]),
    ],
)
def test_families_are_refused_by_key(
    family: str,
    parameters: dict[str, Any],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("1 / 0\n")
    Path("empty.py").write_text("Heat = 3\n")
    Path("leaves.py").write_text("import sys\nsys.exit(0)\n")
    Path("half.py").write_text(
        "from kryloset.problems import SteadyFamily\nclass Half(SteadyFamily): pass\n"
    )
    config = parse_config(of_dataset(family=family, parameters=parameters))
    with pytest.raises(ConfigError) as caught:
        resolve_families(config)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize("text", [None, "datasets: [", "3"], ids=["missing", "no YAML", "number"])
def test_unreadable_files_are_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_run_and_fit_the_schema(path: Path) -> None:
    resolve_families(load_config(path))
    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("sort", [{}, {"sort": "auto"}, {"sort": "greedy"}])
def test_skr_is_one_key(sort: dict[str, str]) -> None:
    """Its order is that of the paper, also for so many instances that auto takes another."""
    skr = DatasetConfig.model_validate({"count": 10_000, "solver": {"method": "skr"}} | sort)
    published = SolverConfig.model_validate(dict(SKR))
    assert skr.sort == "greedy"
    assert fixed_solver(skr.solver) == fixed_solver(published)
    assert parse_config(yaml.safe_load(dump_dataset("one", skr))).datasets["one"] == skr


def test_a_dataset_without_petsc_options_is_written_without_the_key() -> None:
    assert "petsc_options" not in dump_dataset("one", DatasetConfig())
    solver = SolverConfig(method="cg", petsc_options={"pc_gamg_threshold": 0.02})
    text = dump_dataset("one", DatasetConfig(solver=solver))
    assert parse_config(yaml.safe_load(text)).datasets["one"].solver == solver


def test_default_file_is_all_defaults() -> None:
    default = resolve_families(load_config(ROOT / "config/config.yaml"))
    assert default == resolve_families(Config())


@pytest.mark.parametrize("path", render_files(), ids=str)
def test_generated_files_are_up_to_date(path: Path) -> None:
    expected, found = render_files()[path], (ROOT / path).read_text()
    difference = "\n".join(difflib.unified_diff(found.split("\n"), expected.split("\n")))
    assert not difference, f"{path} is out of step: run `make config`\n{difference}"


def test_resolved_dataset_is_an_ordinary_configuration() -> None:
    config = resolve_families(Config())
    text = dump_dataset("darcy", config.datasets["darcy"])
    assert parse_config(yaml.safe_load(text)) == config


PLAIN = """
from kryloset.problems import SteadyFamily, Variable
class Plain(SteadyFamily):
    summary = equation = "plain"
    parameters, fields = (Variable("k", "k"),), (Variable("u", "u"),)
    draw = weak_form = lambda self, *_: None
"""


@pytest.mark.parametrize(
    ("solver", "message"),
    [({"method": "cg", "preconditioner": "none"}, "solver.method cg"),
     ({"method": "rcg", "preconditioner": "none"}, "solver.method rcg"),
     ({"method": "rminres", "preconditioner": "none"}, "solver.method rminres"),
     ({"method": "hpddm"}, "solver.method hpddm"),
     ({"preconditioner": "icc"}, "solver.preconditioner icc"),
     ({"method": "direct", "preconditioner": "cholesky"}, "solver.preconditioner cholesky"),
     ({"policy": "replay none.json"}, "one.solver.policy: there is no file none.json")],
)  # fmt: skip
def test_solver_must_fit_what_the_family_declares(
    solver: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    family = f"{tmp_path}/plain.py:Plain"
    resolve_families(parse_config(of_dataset(family=family)))
    with pytest.raises(ConfigError, match=message):
        resolve_families(parse_config(of_dataset(family=family, solver=solver)))


ODD = """
from kryloset.problems import SteadyFamily, Variable
class Odd(SteadyFamily):
    summary = equation = "odd"
    parameters = (Variable("k", "k", dimensions={DIMENSIONS}),)
    fields = (Variable({FIELD}, "u"),)
    draw = weak_form = lambda self, *_: None
"""


@pytest.mark.parametrize(
    ("dimensions", "field", "message"),
    [("('x', 'y')", "'k'", "two variables named 'k'"), ("('y', 'x')", "'u'", "in that order"),
     ("('x', 'z')", "'u'", "must be axes of"), ("('x', 'y')", "'time'", "named 'time'"),
     ("('corner',)", "'corner'", "named 'corner'")],
)  # fmt: skip
def test_variables_that_no_file_can_hold_are_refused(
    dimensions: str, field: str, message: str, tmp_path: Path
) -> None:
    text = ODD.replace("{DIMENSIONS}", dimensions).replace("{FIELD}", field)
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve_families(parse_config(of_dataset(family=f"{tmp_path}/odd.py:Odd")))


def test_auto_takes_sixteen_lanes_and_other_methods_one():
    assert SolverConfig().width == 16
    assert SolverConfig(lanes=4).width == 4
    assert SolverConfig(method="cg", preconditioner="icc").width == 1
    assert SolverConfig(method="cg", preconditioner="icc", lanes=8).width == 8
    assert "lanes" not in SolverConfig().model_dump()
    assert "lanes" not in SolverConfig(method="gcrodr").model_dump()
    assert SolverConfig(**SolverConfig(lanes=1).model_dump()).width == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "gcrodr"}, "gcrodr with preconditioner ilu solves one system after another"),
        ({"method": "cg", "preconditioner": "ilu"}, "take lanes 1, or cg with jacobi, icc"),
        ({"method": "skr"}, "lanes 8: method skr"),
        ({"method": "cg", "preconditioner": "cholesky", "refresh": "rental"}, "refresh always"),
        ({"method": "cg", "preconditioner": "icc", "fill": 2}, "take fill 0, or lanes 1"),
        ({"method": "gmres", "preconditioner": "lu", "petsc_options": {"pc_view": ""}},
         "petsc_options are for PETSc's solvers"),
    ],
)  # fmt: skip
def test_lanes_that_a_solver_does_not_have_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SolverConfig(lanes=8, **settings)


def test_an_equidistant_grid_of_as_many_points_is_another_one() -> None:
    mesh = {"points": 65, "spacing": ["equidistant", "chebyshev"], "grids": [65]}
    assert parse_config(of_dataset(mesh=mesh), "a").datasets["one"].mesh.grids == (65,)


@pytest.mark.parametrize(
    ("splits", "held_out"),
    [
        ({"train": 0.5, "test": 0.25, "valid": 0.25}, "test"),
        ({"train": 0.5, "valid": 0.25, "final": 0.25}, "final"),
    ],
)
def test_models_are_told_apart_by_the_test_split_and_never_by_a_shift(splits, held_out):
    shift = {"rough": {"log_deviation": 2.0, "count": 4}}
    assert DatasetConfig.model_validate({"splits": splits, "ood": shift}).held_out == held_out
