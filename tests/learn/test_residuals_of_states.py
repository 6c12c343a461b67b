# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Predicted states have the residuals of time steps, and solutions those of Newton's method."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from differences import check_gradient, disturbed
from reaction import Reaction

from kryloset.config import DatasetConfig, TrainingConfig
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.models.registry import check_training
from kryloset.learn.operator import load_model
from kryloset.problems import load_family
from kryloset.run import evaluate, train
from kryloset.run.equations import open_equations
from kryloset.run.one_process import make
from small_sets import make_small, small_config

SPLITS = {"train": 0.5, "valid": 0.5}
#: With one state before each step or two, linear in them or not, and in a mixed element.
IN_TIME = ("heat", "kuramoto_sivashinsky", "navier_stokes", "own")
OWN = '''"""A nonlinear family with values on its boundary that are not 0, and that differ."""

import ufl
from kryloset.problems import Dirichlet, NonlinearFamily, NonlinearForm, Variable


class Hot(NonlinearFamily):
    """-div((1 + u^2) grad u) = f, u = g on the left and 2 on the right."""

    summary = "Heat whose conductivity depends on the temperature"
    equation = "-div((1 + u^2) grad u) = f"
    parameters = (
        Variable("f", "source", dimensions=()), Variable("g", "temperature", dimensions=())
    )
    fields = (Variable("u", "temperature"),)

    def draw(self, generator):
        """Draw the numbers."""
        return {"f": generator.uniform(1, 2), "g": generator.uniform(0.5, 1)}

    def weak_form(self, space, parameters, u):
        """Return F."""
        v = ufl.TestFunction(space)
        F = ((1 + u**2) * ufl.inner(ufl.grad(u), ufl.grad(v)) - parameters["f"] * v) * ufl.dx
        sides = Dirichlet(parameters["g"], self.on_side("x", 0)), Dirichlet(2, self.on_side("x", 1))
        return NonlinearForm(F, sides)
'''

OWN_IN_TIME = '''"""Heat by a source that grows with time, from a side of a drawn temperature."""

import ufl
from kryloset.config import Section
from kryloset.problems import Dirichlet, EvolutionFamily, Variable, WeakForm


class Times(Section):
    """Three steps."""

    steps: int = 3
    final_time: float = 0.3


class Warming(EvolutionFamily):
    """u_t = div(grad u) + (u^3 - u) / size + t, u = g on the left."""

    summary = "Heat by a source that grows with time"
    equation = "u_t = div(grad u) + t"
    Settings = Times
    parameters = (Variable("g", "temperature", dimensions=()),)
    fields = (Variable("u", "temperature"),)

    def draw(self, generator):
        """Draw the temperature."""
        return {"g": generator.uniform(0.5, 1)}

    def initial_state(self, instance):
        """Return a state that decays from the left."""
        x = self.coordinates["x"][:, None] + 0 * self.coordinates["y"]
        return {"u": instance["g"] * (1 - x)}

    def weak_form(self, space, parameters, step):
        """Return the forms, whose matrix is that of an implicit step."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        (now,) = step.previous
        a = (u * v / step.size + ufl.inner(ufl.grad(u), ufl.grad(v))) * ufl.dx
        rhs = (now * now * now / step.size + step.time) * v * ufl.dx
        return WeakForm(a, rhs, (Dirichlet(parameters["g"], self.on_side("x", 0)),))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module", params=IN_TIME)
def trajectories(request, folder) -> Path:
    if request.param == "own":
        return make_own(folder, OWN_IN_TIME, "Warming")
    return make_small(folder / f"{request.param}.h5", request.param, splits=SPLITS)


@pytest.fixture(scope="module", params=["reaction_diffusion", "own"])
def nonlinear(request, folder) -> Path:
    if request.param != "own":
        return make_small(folder / f"{request.param}.h5", request.param, splits=SPLITS)
    return make_own(folder, OWN, "Hot")


def make_own(folder: Path, text: str, kind: str) -> Path:
    """Make a set of a family of one's own."""
    own = folder / kind
    own.mkdir()
    (own / "own.py").write_text(text)
    config = {
        "family": f"{own}/own.py:{kind}",
        "count": 4,
        "mesh": {"points": 9},
        "splits": SPLITS,
    }
    return make(DatasetConfig.model_validate(config), "own", own)


@pytest.mark.parametrize("march", [{"window": 1, "steps": 3}, {"window": 2, "bundle": 2}])
def test_stored_states_solve_each_step_and_others_do_not(trajectories, march):
    pairs, equations = FieldPairs(trajectories, "train", **march), open_equations(trajectories)
    _, y = pairs.arrays(0)
    item = pairs[0]
    equation, states = equations[item["row"]], item["state"].tolist()
    assert states == ([1, 2, 3] if march["window"] == 1 else [2, 3])
    assert equation.residuals(torch.from_numpy(y), states).max() < 2e-8
    # The first state alone is wrong, and with it what follows from it.
    wrong = torch.from_numpy(y).reshape(len(states), -1).clone()
    wrong[0] = disturbed(wrong[0])
    first, second = equation.residuals(wrong.reshape(y.shape), states)[:2]
    assert first > 1e-3 and second > 1e-3


def test_a_zero_network_has_a_residual_of_one_in_the_first_step(trajectories):
    pairs, equations = FieldPairs(trajectories, "train", window=1), open_equations(trajectories)
    zero = torch.zeros_like(pairs[0]["y"])
    equation = equations[pairs[0]["row"]]
    assert equation.residual(zero, pairs[0]["state"].tolist()).item() == pytest.approx(1, rel=1e-12)


def test_states_between_predicted_ones_are_those_of_the_data(trajectories):
    """With a stride, the step that ends at a predicted state begins with a stored one."""
    equation = open_equations(trajectories)[0]
    pairs = FieldPairs(trajectories, "train", window=1)
    row = int(pairs.instances[0])
    equation = open_equations(trajectories)[row]
    second, third = (torch.from_numpy(pairs.arrays(state)[1]) for state in (1, 2))
    guess = disturbed(third)
    alone = equation.residuals(guess, [3])
    assert equation.residuals(torch.stack((second, guess)), [2, 3])[1] == pytest.approx(
        alone.item(), rel=1e-6
    )
    assert equation.residuals(guess) == alone  # the last state, as of an operator without a window
    wrong = torch.stack((disturbed(second), guess))
    assert abs(equation.residuals(wrong, [2, 3])[1] - alone) > 1e-3 * alone
    # State 1 was predicted, and 2 was not: b of state 3 has the stored ones.
    wrong = torch.stack((disturbed(second), guess))
    assert equation.residuals(wrong, [1, 3])[1] == alone


@pytest.mark.parametrize("march", [{"window": 1, "steps": 3}, {"window": 2, "bundle": 2}])
def test_the_gradient_goes_through_the_states_before(trajectories, march):
    pairs, equations = FieldPairs(trajectories, "train", **march), open_equations(trajectories)
    equation, states = equations[pairs[0]["row"]], pairs[0]["state"].tolist()
    guess = disturbed(torch.from_numpy(pairs.arrays(0)[1]))
    for each in range(len(states)):
        assert check_gradient(lambda u, each=each: equation.residuals(u, states)[each], guess)


def test_solutions_of_nonlinear_equations_have_the_residual_of_newtons_method(nonlinear):
    pairs, equations = FieldPairs(nonlinear, "train"), open_equations(nonlinear)
    truth = pairs.stack(range(len(pairs)))[1]
    tolerance = max(Dataset(nonlinear).config.solver.tolerance, 1e-10)
    assert equations.residuals(pairs.instances, truth).max() < 2 * tolerance
    assert equations.residuals(pairs.instances, truth[::-1].copy()).min() > 1e-4
    zeros = equations.residuals(pairs.instances, np.zeros_like(truth))
    assert zeros == pytest.approx(1, rel=1e-12)


def test_the_gradient_of_a_nonlinear_residual_is_the_limit_of_difference_quotients(nonlinear):
    pairs, equations = FieldPairs(nonlinear, "train"), open_equations(nonlinear)
    # Also where u is prescribed: disturbed values are not those.
    guess = disturbed(torch.from_numpy(pairs.arrays(0)[1]))
    assert check_gradient(equations[pairs.instances[0]].residual, guess)


def test_another_instance_assembled_between_changes_no_gradient(nonlinear):
    pairs, equations = FieldPairs(nonlinear, "train"), open_equations(nonlinear)
    first, second = (equations[row] for row in pairs.instances[:2])
    guess = disturbed(torch.from_numpy(pairs.arrays(0)[1])).requires_grad_()
    (alone,) = torch.autograd.grad(first.residual(guess), guess)
    both = first.residual(guess), second.residual(guess)
    (again,) = torch.autograd.grad(both[0], guess)
    torch.testing.assert_close(alone, again)


def test_a_pressure_at_the_vertices_is_predicted_on_the_grid(tmp_path):
    path = make_small(tmp_path / "dataset.h5", "incompressible_elasticity", splits=SPLITS)
    pairs, equations = FieldPairs(path, "train"), open_equations(path)
    truth = pairs.stack(range(len(pairs)))[1]
    assert equations.residuals(pairs.instances, truth).max() < 2e-8
    assert check_gradient(
        equations[pairs.instances[0]].residual, disturbed(torch.from_numpy(truth[0]))
    )


def test_operators_on_meshes_are_judged_by_the_last_step(folder):
    path = make_small(folder / "nodes.h5", "heat", splits=SPLITS)
    pairs, equations = MeshPairs(path, "train"), open_equations(path, "mesh")
    exact = [pairs.arrays(item)[1] for item in range(len(pairs))]
    assert equations.residuals(pairs.instances, exact).max() < 2e-8
    batch = pairs.join([pairs[0], pairs[1]])
    assert equations.loss(batch, 0 * batch.y) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("heat", {"window": 1, "steps": 2}),
        ("kuramoto_sivashinsky", {"window": 2, "bundle": 2}),
        ("navier_stokes", {"stride": 2}),
        ("reaction_diffusion", {}),
    ],
)
def test_a_training_goes_on_with_residuals_and_is_measured_by_them(name, training, tmp_path):
    small = {"fno": {"modes": 2, "width": 4, "layers": 1}}
    usual = {"settings": small, "epochs": 2, "batch_size": 2, **training}
    path = make_small(tmp_path / "dataset.h5", name, splits=SPLITS)
    found = {}
    for label, more in {
        "without": {},
        "with": {"residual": 1.0, "start": str(tmp_path / "without.pt"), "epochs": 10},
    }.items():
        config = small_config(name, splits=SPLITS, training=usual | more)
        check_training(config.training, load_family(config))
        model, metrics = tmp_path / f"{label}.pt", tmp_path / f"{label}.json"
        train.run(
            config,
            data=path,
            model=model,
            history=tmp_path / "history.json",
            equations=open_equations,
        )
        evaluate.run(model, data=path, metrics=metrics, equations=open_equations)
        found[label] = json.loads(metrics.read_text())
    before, after = (found[label]["errors"]["train"]["residual"] for label in found)
    assert 0 < after < before
    rollout = found["with"]["rollout"]
    if name == "reaction_diffusion":
        assert rollout is None
        return
    along = rollout["train"]["errors"]["residual"]
    assert len(along) == len(rollout["train"]["errors"]["relative_l2"])
    assert all(number > 0 for number in along)


def test_the_residual_of_a_rollout_is_that_of_predicted_states(tmp_path):
    path = make_small(tmp_path / "dataset.h5", "heat", splits=SPLITS)
    training = {"settings": {"fno": {"modes": 2, "width": 4, "layers": 1}}, "epochs": 1}
    config = small_config("heat", splits=SPLITS, training=training)
    model, metrics = tmp_path / "model.pt", tmp_path / "metrics.json"
    train.run(config, data=path, model=model, history=tmp_path / "history.json")
    evaluate.run(model, data=path, metrics=metrics, equations=open_equations)
    told = json.loads(metrics.read_text())
    operator, equations = load_model(model), open_equations(path)
    pairs = operator.trajectories(path, "valid")
    along, single = [], []
    for item in (pairs[0], pairs[1]):
        with torch.no_grad():
            states = operator.roll_out(item["x"][None], steps=pairs.steps)[0]
            known = pairs.states.inputs(item["x"][None], item["y"][None])[0]
            each = operator(known)
        equation, numbers = equations[item["row"]], item["state"].tolist()
        along.append(equation.residuals(states, numbers).numpy())
        single.append(
            [equation.residual(one, [k]).item() for one, k in zip(each, numbers, strict=True)]
        )
    found = told["rollout"]["valid"]["errors"]["residual"]
    assert found == pytest.approx(np.mean(along, axis=0), rel=1e-3)
    assert told["errors"]["valid"]["residual"] == pytest.approx(np.mean(single), rel=1e-3)
    with pytest.raises(DataError, match=r"its own grid, .* leave out --grid, or --residual"):
        evaluate.run(model, data=path, metrics=metrics, grids=["5"], equations=open_equations)


@pytest.mark.parametrize(
    ("name", "training", "told"),
    [
        ("incompressible_elasticity", {"residual": 1.0}, ""),
        ("navier_stokes", {"residual": 1.0}, ""),
        ("incompressible_elasticity", {"model": "transolver", "residual": 1.0}, ""),
        (
            "incompressible_elasticity",
            {"model": "transolver", "where": "mesh", "residual": 1.0},
            r"training\.where: `p` has nodes of its own, and not those of `u`: take `auto` or",
        ),
        ("maxwell", {"residual": 1.0}, r"training\.residual: the unknowns E_dofs are not .*take 0"),
        (
            "maxwell",
            {"model": "transolver", "where": "mesh"},
            r"training\.where: `E` is in edge elements, .*: take `auto` or",
        ),
        (
            "heat",
            {"residual": 1.0, "optimiser": "adahessian"},
            r"training\.residual: adahessian differentiates twice.*another optimiser",
        ),
    ],
)
def test_what_has_no_residual_is_refused_before_anything_is_solved(name, training, told):
    config = small_config(name)
    found = TrainingConfig.model_validate(training)
    if not told:
        check_training(found, load_family(config))
        return
    with pytest.raises(ConfigError, match=told):
        check_training(found, load_family(config))


def test_a_family_with_a_discretisation_of_its_own_is_refused():
    family = Reaction(Reaction.Settings(), DatasetConfig().mesh)
    with pytest.raises(ConfigError, match=r"training\.residual: .*a discretisation of its own"):
        check_training(TrainingConfig(residual=1.0), family)
