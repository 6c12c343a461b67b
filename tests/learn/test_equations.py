# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The residual of a prediction is that of the equations by which the solutions were verified."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from documentation import find_block
from kryloset.config import DatasetConfig, TrainingConfig
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.operator import load_model
from kryloset.run import evaluate, train
from kryloset.run.equations import open_equations
from kryloset.run.one_process import make

FAMILIES = ("darcy", "elasticity", "neumann_poisson")


def make_set(
    folder: Path,
    family: str,
    *,
    degree: int = 1,
    ood: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    config = {
        "ood": ood or {},
        "family": family,
        "parameters": {"modes": 4, **settings},
        "count": 4,
        "mesh": {"points": 9, "degree": degree},
        "splits": {"train": 0.5, "valid": 0.5},
    }
    return make(DatasetConfig.model_validate(config), "set", folder)


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory) -> Path:
    return make_set(tmp_path_factory.mktemp(request.param), request.param)


def solutions(path: Path) -> tuple[FieldPairs, torch.Tensor]:
    pairs = FieldPairs(path, "train")
    return pairs, torch.from_numpy(pairs.stack(range(len(pairs)))[1])


def test_solutions_solve_the_equations_and_nothing_else_does(made):
    pairs, truth = solutions(made)
    equations = open_equations(made)
    for row, solution in zip(pairs.instances, truth, strict=True):
        equation = equations[row]
        assert equation.residual(solution) < 2e-8
        noise = torch.from_numpy(np.random.default_rng(0).standard_normal(solution.shape))
        assert equation.residual(solution + 1e-3 * solution.abs().max() * noise) > 1e-4


def test_zero_has_a_residual_of_one(made):
    pairs, truth = solutions(made)
    found = open_equations(made)[pairs.instances[0]].residual(torch.zeros_like(truth[0]))
    assert found == pytest.approx(1, rel=1e-12)


def test_an_instance_has_its_own_equations(made):
    pairs, truth = solutions(made)
    equations = open_equations(made)
    first, second = (equations[row] for row in pairs.instances[:2])
    assert first.residual(truth[0]) < 2e-8  # although another was assembled since
    assert first.residual(truth[1]) > 1e-3
    assert second.residual(truth[1]) < 2e-8


def test_shifted_instances_have_the_equations_of_their_settings(tmp_path):
    shift = {"poisson_ratio": 0.45, "count": 2}
    path = make_set(tmp_path, "elasticity", poisson_ratio=0.2, ood=shift)
    equations = open_equations(path)
    for split in ("ood", "train", "ood"):
        pairs = FieldPairs(path, split)
        for row, item in zip(pairs.instances, range(len(pairs)), strict=True):
            assert equations[row].residual(torch.from_numpy(pairs.arrays(item)[1])) < 2e-8


def test_the_gradient_is_the_limit_of_difference_quotients(made):
    pairs, truth = solutions(made)
    equation = open_equations(made)[pairs.instances[0]]
    prediction = (truth[0] * 1.1 + 0.1 * truth[0].abs().max()).requires_grad_()
    assert torch.autograd.gradcheck(equation.residual, prediction, eps=1e-7, atol=1e-5, rtol=1e-4)


def test_descent_on_the_residual_alone_finds_the_solution(tmp_path):
    path = make_set(tmp_path, "darcy")
    pairs, truth = solutions(path)
    equation = open_equations(path)[pairs.instances[0]]
    prediction = torch.zeros_like(truth[0], requires_grad=True)
    optimiser = torch.optim.LBFGS([prediction], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = equation.residual(prediction).square()
        found.backward()
        return found

    optimiser.step(loss)
    assert (prediction - truth[0]).norm() < 1e-2 * truth[0].norm()


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        (
            "thermal",
            {"outline": "drawn", "conductivity": "lognormal"},
            "T_dofs.* are not values at the points.* at the nodes, with `where: mesh`",
        ),
        ("maxwell", {}, "E_dofs are not values at the points"),
    ],
)
def test_a_family_without_such_a_residual_is_refused(tmp_path, family, settings, told):
    path = make_set(tmp_path, family, **settings)
    with pytest.raises(DataError, match=told):
        open_equations(path)


def test_an_operator_is_measured_by_its_residuals(made, tmp_path):
    pairs, _ = solutions(made)
    training = {"epochs": 1, "settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}}
    with Dataset(made) as data:
        config = data.config.model_copy(update={"training": TrainingConfig(**training)})
    model, metrics = tmp_path / "model.pt", tmp_path / "metrics.json"
    train.run(config, data=made, model=model, history=tmp_path / "history.json")
    evaluate.run(model, data=made, metrics=metrics, equations=open_equations)
    found = json.loads(metrics.read_text())["errors"]["train"]["residual"]
    operator, equations = load_model(model), open_equations(made)
    with torch.no_grad():
        predictions = operator(torch.stack([pair["x"] for pair in pairs]))
    expected = [
        equations[row].residual(p).item()
        for row, p in zip(pairs.instances, predictions, strict=True)
    ]
    assert found == pytest.approx(np.mean(expected), rel=1e-3)
    assert found > 1e-3


def test_the_program_of_the_page_has_the_residual_of_a_prediction(tmp_path, monkeypatch):
    folder = tmp_path / "results/darcy"
    folder.mkdir(parents=True)
    assert make_set(folder, "darcy").name == "dataset.h5"
    monkeypatch.chdir(tmp_path)
    found = {"u": torch.zeros(1, 9, 9)}
    exec(find_block("docs/how-to/measuring.md", "open_equations"), found)
    assert found["residual"] == pytest.approx(1, rel=1e-6)
