# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datasets with periodic axes, of the package's families, through all stages."""

from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from test_check import failures
from various_runs import StagedRun

from directly import solve_directly
from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError
from kryloset.problems import load_family
from kryloset.sampling import generator

#: Families with the settings of a small set, and the axes that may be periodic together.
FAMILIES: dict[str, Any] = {
    "darcy": ("xy", 8, {"modes": 3, "source": 0.0, "source_deviation": 1.0}),
    "neumann_poisson": ("xy", 8, {"modes": 3}),
    "heat": ("xy", 8, {"modes": 3, "steps": 3}),
    "reaction_diffusion": ("x", 8, {"modes": 3}),
    "maxwell": ("xy", 8, {"modes": 3}),
    "helmholtz_absorbing": ("x", 9, {"modes": 3, "wavelengths": 0.4, "source": "field"}),
    "advection_diffusion": ("y", 8, {"modes": 3}),
    "elasticity": ("y", 8, {"modes": 3}),
    "kuramoto_sivashinsky": ("x", 40, {"modes": 3, "steps": 8, "final_time": 2.0}),
}


def family_of(name: str, **mesh: Any) -> Any:
    axes, points, parameters = FAMILIES[name]
    mesh = {"points": points, "periodic": list(axes), **mesh}
    return load_family(DatasetConfig(family=name, mesh=mesh, parameters=parameters))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shifted_instance_has_the_shifted_solution(name: str) -> None:
    """Nothing in the family knows where its periodic axes begin."""
    family = family_of(name)
    axes = tuple(family.coordinates)
    instance = family.draw(generator(0, 1))
    # By all but one along y, so that profiles and fields are seen to move together.
    moves = {axis: 1 + 2 * number for number, axis in enumerate(axes) if family.is_periodic(axis)}

    def shift(variable: Any, values: Any, before: int) -> Any:
        along = [axis for axis in moves if axis in variable.axes]
        places = tuple(before + variable.axes.index(axis) for axis in along)
        return np.roll(values, [moves[axis] for axis in along], places) if along else values

    shifted = {v.name: shift(v, np.asarray(instance[v.name]), 0) for v in family.parameters}
    discretisation = family.discretise(MPI.COMM_SELF)
    one, other = discretisation.solve([instance, shifted], solve_directly)
    assert discretisation.residual(instance, one) < 1e-8
    times = int(family.times is not None)
    if name == "maxwell":
        # A field that jumps between cells has the value of one of them, so compare its unknowns.
        found = (np.sort(abs(each["E_dofs"])) for each in (one, other))
        np.testing.assert_allclose(*found, rtol=0, atol=1e-7 * abs(one["E_dofs"]).max())
        return
    for field in family.fields:
        expected = shift(field, one[field.name], times)
        scale = abs(expected).max()
        np.testing.assert_allclose(other[field.name], expected, rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize("name", FAMILIES)
def test_drawn_fields_continue_where_the_axis_closes(name: str) -> None:
    """The step there is no larger than those inside, on a grid that resolves the field."""
    family = family_of(name, points=64)
    instance = family.draw(generator(0, 2))
    for variable in family.parameters:
        for place, axis in enumerate(variable.axes):
            if family.is_periodic(axis):
                values = np.asarray(instance[variable.name])
                inside = abs(np.diff(values, axis=place)).max()
                ends = values.take(0, place) - values.take(-1, place)
                assert abs(ends).max() <= 1.05 * inside


def test_the_potential_on_a_torus_approaches_its_fourier_series() -> None:
    """It is determined up to a constant, and its unknowns have mean zero."""
    differences = []
    for points in (16, 32):
        family = family_of("neumann_poisson", points=points)
        instance = family.draw(generator(0, 0))
        (stored,) = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)
        waves = 2 * np.pi * np.fft.fftfreq(points, 1 / points)
        squares = waves[:, None] ** 2 + waves**2
        squares[0, 0] = np.inf
        exact = np.fft.ifft2(np.fft.fft2(instance["f"]) / squares).real
        assert abs(stored["u"].mean()) < 1e-14
        differences.append(abs(stored["u"] - exact).max() / abs(exact).max())
    assert differences[1] < 0.3 * differences[0] < 0.03


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: Any) -> Any:
    config = DatasetConfig(
        family="darcy", count=6, mesh={"points": 8, "periodic": ["x"], "grids": [4, 16]},
        parameters={"modes": 3}, solver={"method": "cg", "preconditioner": "multigrid"},
        splits={"train": 0.5, "test": 0.5}, chunks=2,
    )  # fmt: skip
    return StagedRun(tmp_path_factory.mktemp("periodic"), config).prepare().merge()


def test_a_dataset_passes_the_check_and_says_what_is_periodic(dataset: Any) -> None:
    assert failures(dataset) == {}
    with h5py.File(dataset) as file:
        assert file.attrs["equation"].endswith("u = 0 on the boundary; periodic in x")
        assert set(file["boundary_conditions"]) == {"y_wall_u", "x_periodic_u"}
        assert file["boundary_conditions/x_periodic_u"].attrs["bc_type"] == "periodic"
        np.testing.assert_allclose(file["x"], np.arange(8) / 8)
        np.testing.assert_allclose(file["grid_4/x_4"], np.arange(4) / 4)
        assert file["t0_fields/u"].shape == (6, 1, 8, 8)
        u = file["t0_fields/u"][:, 0]
        assert (u[:, :, [0, -1]] == 0).all() and (u[:, :, 1:-1] > 0).all()
        np.testing.assert_allclose(file["grid_16/u"][:, 0, ::2, 0], u[:, :, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("name", "axes", "parameters", "message"),
    [
        ("darcy", "xy", {}, "source 1: with periodic axes alone nothing flows out"),
        ("advection_diffusion", "xy", {}, "leaves no boundary, where u has prescribed values"),
        ("elasticity", "x", {}, "only y may be periodic"),
        ("thermal", "x", {}, "remove the key"),
        ("darcy", "x", {"modes": 20}, "take at most 16 modes"),
    ],
)
def test_what_cannot_be_periodic_is_refused(
    name: str, axes: str, parameters: Any, message: str
) -> None:
    mesh = {"points": 32, "periodic": list(axes)}
    with pytest.raises(ConfigError, match=message):
        load_family(DatasetConfig(family=name, mesh=mesh, parameters=parameters))
