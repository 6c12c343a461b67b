# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measured errors agree with known errors."""

from mpi4py import MPI

import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.fem.accuracy import (
    Accuracy,
    SolveStrictly,
    estimate_discretisation,
    measure,
    relative_errors,
)
from kryloset.problems import load_family
from kryloset.sampling import generator


def load(name, points, **settings):
    config = {"family": name, "mesh": {"points": points}, "parameters": settings}
    return load_family(DatasetConfig.model_validate(config))


def solved(family):
    """Return the discretisation, an instance and its solution, to rounding."""
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 0))
    solution = discretisation.solve([instance], SolveStrictly(family.operator, 1e-11))[0]
    return discretisation, instance, solution


@pytest.mark.parametrize("name", ["reaction_diffusion", "neumann_poisson", "advection_diffusion"])
def test_a_known_error_is_estimated(name):
    family = load(name, 33)
    discretisation, instance, solution = solved(family)
    spoilt = solution | {"u": 1.01 * solution["u"]}
    found = measure(family, discretisation, 1e-6, {7: (instance, solution), 3: (instance, spoilt)})
    assert (found.instances, found.field) == ((7, 3), "u")
    assert found.algebraic_error == pytest.approx(0.01, rel=1e-3)


def test_the_error_of_a_trajectory_is_that_of_its_last_state():
    family = load("heat", 9, steps=4, modes=4)
    discretisation, instance, solution = solved(family)
    spoilt = solution["u"].copy()
    spoilt[:-1] *= 2.0
    spoilt[-1] *= 1.02
    found = measure(family, discretisation, 1e-6, {0: (instance, solution | {"u": spoilt})})
    assert found.algebraic_error == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("name", ["poisson", "elasticity"])
def test_the_estimate_agrees_with_the_error_on_a_finer_grid(name):
    family, finer = load(name, 17), load(name, 65)
    _, instance, solution = solved(family)
    _, _, better = solved(finer)
    field = family.fields[0].name
    reference = {field: better[field][::4, ::4]}
    expected = relative_errors(reference, solution)[field]
    found = estimate_discretisation(family, instance, solution)[field]
    assert 0.3 * expected <= found <= 5 * expected


@pytest.mark.parametrize("degree", [1, 2])
def test_a_closed_grid_has_a_coarser_one(degree):
    """Of the order of the elements: the estimate falls by 2^(p + 1) on twice as many points."""
    errors = []
    for points in (16, 32):
        mesh = {"points": points, "degree": degree, "periodic": ["x", "y"]}
        config = DatasetConfig(family="neumann_poisson", mesh=mesh, parameters={"modes": 3})
        family = load_family(config)
        _, instance, solution = solved(family)
        found = estimate_discretisation(family, instance, solution)
        assert found is not None
        errors.append(found["u"])
    assert errors[0] / errors[1] == pytest.approx(2 ** (degree + 1), rel=0.2)


def test_a_refined_grid_has_no_estimate_however_small_it_is():
    mesh = {"points": 17, "sides": [1e-6, 1e-6], "spacing": {"walls": 1.05}}
    family = load_family(
        DatasetConfig(family="neumann_poisson", mesh=mesh, parameters={"modes": 3})
    )
    _, instance, solution = solved(family)
    assert estimate_discretisation(family, instance, solution) is None


def test_a_family_for_one_grid_has_no_estimate(monkeypatch, caplog):
    family = load("darcy", 9, modes=4)
    _, instance, solution = solved(family)

    def refuse(*_):
        raise ValueError("made for 9 points")

    monkeypatch.setattr(type(family), "discretise", refuse)
    caplog.set_level("INFO")
    assert estimate_discretisation(family, instance, solution) is None
    assert "made for 9 points" in caplog.text


def test_a_loose_tolerance_is_reported_with_a_better_one():
    loose = Accuracy((1, 2), "u", 1e-2, 2.9, 0.03)
    assert loose.excessive
    assert loose.describe() == (
        "The tolerance 1e-02 leaves a relative L2 error of 2.9e+00 in u, the largest of 2 "
        "instances solved more strictly; the discretisation's is about 3e-02, which is less: set "
        "solver.tolerance to 1e-05 or less."
    )
    strict = Accuracy((1,), "u", 1e-8, 1e-9, 0.03)
    assert not strict.excessive and strict.describe().endswith("is about 3e-02.")
    unknown = Accuracy((1,), "u", 1e-2, 0.5, None)
    assert not unknown.excessive and unknown.describe().endswith(
        "of 1 instance solved more strictly."
    )
    tiny = {"u": np.array([3e-200, 4e-200])}
    assert relative_errors(tiny, {"u": np.zeros(2)}) == {"u": pytest.approx(1.0)}
    # A NaN is not a small difference.
    assert Accuracy((1,), "u", 1e-2, np.nan, 0.03).excessive
