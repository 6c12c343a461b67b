# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The channels of families with vectors, trajectories and axes of their own."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.writer import write_dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.measuring import describe, measure_splits
from kryloset.learn.scaling import Scaling
from kryloset.problems import load_family
from kryloset.sampling import generator

FAMILIES = Path(__file__).parents[1] / "dataset" / "various.py"


def make(folder, family, dimension):
    """Return the file, and parameters and solution of each instance."""
    config = DatasetConfig.model_validate(
        {
            "family": f"{FAMILIES}:{family}",
            "count": 4,
            "mesh": {"points": 5, "dimension": dimension},
            "splits": {"train": 0.5, "test": 0.5},
        }
    )
    made = load_family(config)
    drawn = [made.draw(generator(0, index)) for index in range(4)]
    solved = made.discretise(None).solve(drawn, None)
    both = [a | b for a, b in zip(drawn, solved, strict=True)]
    path, solver = folder / "dataset.h5", {key: np.zeros(4) for key in SOLVER}
    write_dataset(path, "various", config, made, both, solver, {1: "converged"}, {}, "")
    return path, drawn, solved


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("family", ["Various", "Moving"])
def test_components_are_channels_and_the_last_state_is_the_solution(family, dimension, tmp_path):
    path, drawn, solved = make(tmp_path, family, dimension)
    pairs, axes = FieldPairs(path, "train"), "xyz"[:dimension]
    winds, drifts = ([f"{name}_{a}" for a in axes] for name in ("wind", "drift"))
    assert pairs.inputs == ("k", *winds, *drifts, "soil")
    assert pairs.outputs == ("u", *(f"flux_{a}" for a in axes))
    assert pairs.logarithmic == (True, *[False] * (2 * dimension + 1))
    for item, instance in enumerate(pairs.instances):
        given, solution = drawn[instance], solved[instance]
        if family == "Moving":
            solution = {name: values[-1] for name, values in solution.items()}
        x, y = pairs.arrays(item)
        np.testing.assert_array_equal(x[0], given["k"])
        for axis in range(dimension):
            np.testing.assert_array_equal(x[1 + axis], given["wind"][..., axis])
            assert (x[1 + dimension + axis] == given["drift"][axis]).all()
            np.testing.assert_array_equal(y[1 + axis], solution["flux"][..., axis])
        np.testing.assert_array_equal(x[-1], given["soil"])
        np.testing.assert_array_equal(y[0], solution["u"])
        assert {name: values.shape for name, values in pairs[item].items()} == {
            "x": (len(pairs.inputs), *pairs.grid),
            "y": (len(pairs.outputs), *pairs.grid),
            "row": (),
            "state": (1,),
        }
    assert Scaling.fit(pairs).input_mean.numel() == len(pairs.inputs)


@pytest.mark.parametrize(
    ("window", "stride", "steps"), [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (1, 1, None)]
)
def test_states_of_a_window_are_paired_with_the_next_ones(window, stride, steps, tmp_path):
    path, drawn, solved = make(tmp_path, "Moving", 2)
    pairs = FieldPairs(path, "train", window=window, stride=stride, steps=steps)
    states, fields = len(solved[0]["u"]), ("u", "flux_x", "flux_y")
    numbered = [f"{name}_{state}" for state in range(window) for name in fields]
    assert pairs.inputs[-3 * window :] == (fields if window == 1 else tuple(numbered))
    assert pairs.outputs == fields
    later = (states - 1) // stride + 1 - window if steps is None else steps
    starts = 1 if steps is None else states - stride * (window + steps - 1)
    assert (pairs.steps, len(pairs)) == (later, len(pairs.instances) * starts)
    for item in range(len(pairs)):
        number, start = divmod(item, starts)
        instance = pairs.instances[number]
        x, y = pairs.arrays(item)
        np.testing.assert_array_equal(x[0], drawn[instance]["k"])
        assert y.shape == ((later, 3, 5, 5) if later > 1 or steps is None else (3, 5, 5))
        given = [*x[-3 * window :].reshape(window, 3, 5, 5), *y.reshape(-1, 3, 5, 5)]
        for state, (u, flux_x, flux_y) in enumerate(given):
            np.testing.assert_array_equal(u, solved[instance]["u"][start + stride * state])
            flux = solved[instance]["flux"][start + stride * state]
            np.testing.assert_array_equal(np.stack([flux_x, flux_y], axis=-1), flux)


@pytest.mark.parametrize(("family", "has"), [("Various", "no time steps"), ("Moving", ". states")])
def test_states_that_a_dataset_does_not_have_are_refused(family, has, tmp_path):
    path, *_ = make(tmp_path, family, 1)
    with pytest.raises(DataError, match=f"has {has}: there are no 2 that are 99 steps apart"):
        FieldPairs(path, "train", window=1, stride=99)


def test_a_dataset_without_inputs_on_the_grid_is_refused(tmp_path):
    path, *_ = make(tmp_path, "Polygons", 2)
    with pytest.raises(DataError, match="no parameter is a number or a function on the grid"):
        FieldPairs(path, "train")


@pytest.mark.parametrize("dimension", [1, 3])
def test_vectors_on_lines_and_in_boxes_are_measured(dimension, tmp_path):
    """Twice the solution has the relative error 1 in each norm of functions."""
    path, *_ = make(tmp_path, "Various", dimension)
    pairs = FieldPairs(path, "test")
    _, truth = pairs.stack(range(len(pairs)))
    found = describe(measure_splits(lambda x: 2 * truth, {"test": pairs}), np.ones(1 + dimension))
    errors = found["errors"]["test"]
    for name in ("relative_l2", "relative_h1", "maximum"):
        assert errors[name] == pytest.approx(1, rel=1e-5)
        assert found["quantiles"]["test"][name]["max"] == pytest.approx(1, rel=1e-5)
    assert errors["low"] == pytest.approx(1, rel=1e-5) and errors["high"] == 0
    assert errors["boundary"] > 0
