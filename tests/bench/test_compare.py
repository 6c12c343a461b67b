# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""All methods solve the same systems, in turn, and the figures add up."""

import json
from statistics import median

from mpi4py import MPI

import numpy as np
import pytest

from kryloset.config import DatasetConfig, SolverConfig, load_dataset
from kryloset.krylov import Automatic, SequenceSolver
from kryloset.ordering import greedy_chain
from kryloset.problems import FAMILIES, load_family
from kryloset.problems.populations import load_populations
from kryloset.run import compare, sort
from kryloset.run.comparison import Method, choose_methods, measure
from kryloset.run.draw import Drawn
from kryloset.run.solver import fixed_solver
from kryloset.sampling import generator
from running import ROOT

DARCY = load_family(DatasetConfig())
WIND = load_family(DatasetConfig(family="advection_diffusion"))


@pytest.fixture(scope="module")
def config() -> DatasetConfig:
    """Systems on which an unpreconditioned method takes several cycles."""
    return DatasetConfig.model_validate(
        {
            "count": 9,
            "mesh": {"points": 25},
            "parameters": {"modes": 8},
            "solver": {
                "method": "gcrodr",
                "preconditioner": "jacobi",
                "restart": 20,
                "recycle": 10,
            },
            "comparison": {"instances": 8},
        }
    )


@pytest.fixture(scope="module")
def result(config, tmp_path_factory) -> dict:
    """What the stage writes."""
    folder = tmp_path_factory.mktemp("compare")
    order, output = folder / "order.h5", folder / "result.json"
    sort.run(config, "small", output=order)
    compare.run(config, "small", order=order, output=output)
    return json.loads(output.read_text())


@pytest.fixture
def methods(result) -> dict:
    return {method["name"]: method for method in result["methods"]}


def test_every_method_reaches_the_tolerance(result, methods, config):
    names = {"recycled", "unsorted", "fresh", "gmres", "rcg", "cg", "direct", "skr"}
    assert set(methods) == names
    for method in methods.values():
        assert method["unconverged"] == 0, method["label"]
        assert 0 < method["true_residual"] <= config.solver.tolerance
        assert method["true_residual"] == max(method["records"]["true_residual"])


def test_recycling_saves_iterations_on_the_same_instances(methods):
    recycled, fresh = methods["recycled"]["records"], methods["fresh"]["records"]
    assert recycled["instance"] == fresh["instance"]
    # The first instance has nothing to recycle, so both start in the same way.
    assert recycled["iterations"][0] == fresh["iterations"][0]
    assert all(
        a < b for a, b in zip(recycled["iterations"][1:], fresh["iterations"][1:], strict=True)
    )
    assert methods["fresh"]["records"]["seconds_rebuild"] == [0.0] * 8
    assert all(seconds > 0 for seconds in recycled["seconds_rebuild"][1:])


def test_the_given_order_has_the_same_instances_unsorted(result, methods):
    drawn = methods["unsorted"]["records"]["instance"]
    assert drawn == sorted(result["instances"])
    assert methods["recycled"]["records"]["instance"] == result["instances"]


def test_methods_take_turns(result, methods):
    turns = result["turns"]
    assert len(turns) == 8
    assert all(sorted(turn) == sorted(methods) for turn in turns)
    # With as many rounds as methods, each method is first once.
    assert {turn[0] for turn in turns} == set(methods)


def test_figures_add_up(result, methods):
    gmres = methods["gmres"]["median"]
    for method in methods.values():
        records = method["records"]
        parts = zip(
            records["seconds_setup"], records["seconds_rebuild"], records["seconds_iterate"],
            strict=True,
        )  # fmt: skip
        assert records["seconds"] == pytest.approx([sum(part) for part in parts])
        for key, value in method["median"].items():
            assert value == median(records[key])
        for key, value in method["to_gmres"].items():
            assert value == pytest.approx(method["median"][key] / gmres[key])
        assert records["systems"] == [1] * 8
        assert all(
            applications >= iterations
            for applications, iterations in zip(
                records["operator_applications"], records["iterations"], strict=True
            )
        )


def test_a_system_is_assembled_once_for_all_methods_of_an_order(config):
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = [(i, family.draw(generator(config.seed, i))) for i in (2, 0)]
    assembled, solve = [], discretisation.solve
    discretisation.solve = lambda group, by: assembled.extend(map(id, group)) or solve(group, by)
    methods = choose_methods(config.solver, family)
    records, _ = measure(discretisation, instances, methods)
    first, second = (id(parameters) for _, parameters in instances)
    # Each round: one for the solving order, one for the order of drawing.
    assert sorted(assembled[:2]) == sorted(assembled[2:]) == sorted([first, second])
    assert [record.instance for record in records["unsorted"]] == [0, 2]


def test_a_method_that_solves_systems_at_once_has_a_turn_for_all_of_them(config):
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = [(i, family.draw(generator(config.seed, i))) for i in (3, 0, 4, 1, 2)]
    together = choose_methods(SolverConfig(method="cg", preconditioner="icc", lanes=4), family)[0]
    assert together.label == "CG + ICC, 4 at once"
    alone = Method("alone", "CG + ICC", SequenceSolver("cg", "icc"))
    records, rounds = measure(discretisation, instances, [together, alone])
    mine = records[together.name]
    assert [record.instance for record in mine] == [3, 0, 4, 1, 2]
    assert [record.lanes for record in mine] == [4, 4, 4, 4, 1]
    assert all(record.systems == 1 and record.converged for record in mine)
    taking_part = [together.name in names for names in rounds]
    assert taking_part == [True, False, False, False, True]
    assert all("alone" in names for names in rounds)


def test_a_discretisation_receives_the_tolerance(config):
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    solve, told = discretisation.solve, []
    discretisation.solve = lambda p, solver: told.append(solver.tolerance) or solve(p, solver)
    instances = [(0, family.draw(generator(config.seed, 0)))]
    measure(discretisation, instances, choose_methods(config.solver, family))
    assert set(told) == {config.solver.tolerance}


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, "configured"),
        ({"method": "gcrodr"}, "skr"),
        ({"method": "skr"}, "skr"),
        ({"method": "gcrodr", "restart": 30}, "recycled"),
        ({"method": "cg", "preconditioner": "cholesky", "refresh": "rental"}, "configured"),
        ({"method": "gmres"}, "gmres"),
        ({"method": "cg", "preconditioner": "icc"}, "cg"),
        ({"method": "cg", "preconditioner": "jacobi"}, "configured"),
        ({"method": "direct"}, "direct"),
    ],
)
def test_the_method_of_the_dataset_comes_first_and_once(settings, own):
    config = SolverConfig.model_validate(settings)
    methods = choose_methods(config, DARCY)
    assert methods[0].name == own
    assert isinstance(methods[0].solver, Automatic) == config.chooses
    if not config.chooses:
        assert methods[0].solver == fixed_solver(config)
    assert methods[0].carries and methods[0].order == "solving"
    names = {method.name for method in methods}
    # Recycling as configured, too, where that is not as published.
    assert len(names) == len(methods) == 7 + (own == "configured") + ("recycled" in names)


def test_skr_is_compared_on_every_dataset_in_the_order_that_it_has():
    """As published, whatever the solver, the operator or the order of the dataset is."""
    for family in FAMILIES:
        loaded = load_family(load_dataset(ROOT / f"config/families/{family}.yaml", family))
        for config in (SolverConfig(), SolverConfig(preconditioner="sor", restart=30)):
            for order in ("greedy", "hilbert"):
                methods = choose_methods(config, loaded, order)
                (skr,) = (method for method in methods if method.name == "skr")
                assert fixed_solver(SolverConfig(method="skr")) == skr.solver
                assert skr.carries and skr.order == ("solving" if order == "greedy" else "greedy")
                assert methods[0].order == "solving"


def test_skr_goes_along_the_greedy_chain_of_the_instances_that_are_compared(tmp_path):
    config = DatasetConfig(
        count=6, mesh={"points": 9}, parameters={"modes": 4}, sort="given", splits={"train": 1.0}
    )
    order, output = tmp_path / "order.h5", tmp_path / "result.json"
    sort.run(config, "small", output=order, chunks=1)
    compare.run(config, "small", order=order, output=output)
    methods = {method["name"]: method for method in json.loads(output.read_text())["methods"]}
    drawn = Drawn(load_populations(config), config.seed).instances(range(6))
    chain = greedy_chain(np.stack([instance["k"].ravel() for instance in drawn])).tolist()
    assert methods["skr"]["records"]["instance"] == chain != list(range(6))
    assert methods["recycled"]["records"]["instance"] == list(range(6))
    assert "unsorted" not in methods  # it would be the same once more


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "gmres", "petsc_options": {"ksp_gmres_modifiedgramschmidt": ""}},
        {"method": "cg", "preconditioner": "gamg", "petsc_options": {"mg_levels_ksp_max_it": 3}},
        {"method": "cg", "preconditioner": "icc", "petsc_options": {"pc_factor_zeropivot": 0.0}},
        {"method": "direct", "petsc_options": {"pc_factor_reuse_ordering": True}},
    ],
    ids=lambda settings: settings["method"],
)
def test_methods_have_the_options_of_petsc_that_they_read(settings, config):
    """Those of the preconditioner where it is the same: else PETSc would not read them."""
    solver = SolverConfig.model_validate(settings)
    family = load_family(config)
    methods = choose_methods(solver, family)
    assert methods[0].solver.petsc_options == settings["petsc_options"]
    gcrodr = next(method.solver for method in methods if method.name in ("recycled", "skr"))
    assert bool(gcrodr.petsc_options) == (settings["method"] == "cg")
    measure(family.discretise(MPI.COMM_SELF), [(0, family.draw(generator(7, 0)))], methods)


def test_cg_is_left_out_where_the_operator_is_not_symmetric_definite():
    names = [method.name for method in choose_methods(SolverConfig(), WIND)]
    assert names == ["configured", "skr", "unsorted", "fresh", "gmres", "direct"]
