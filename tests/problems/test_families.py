# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Properties of every built-in family, tested on its small dataset in config/families."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
from coarse import CONFIGS, NAMES, ROOT, coarse_family, dataset

from kryloset.config import load_config
from kryloset.problems import FAMILIES, Family, OperatorTraits, load_family
from kryloset.problems.catalogue import describe_family, list_families
from kryloset.problems.checks.coverage import respects
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims


@pytest.fixture(scope="module", params=NAMES)
def solved(request: pytest.FixtureRequest) -> tuple[Family, Any, list[Any], SolveAndKeep]:
    """A family, its discretisation, and three instances with their solutions."""
    family = coarse_family(request.param)
    discretisation = family.discretise(MPI.COMM_SELF)
    solve = SolveAndKeep()
    pairs = []
    for index in range(3):
        instance = family.draw(generator(0, index))
        pairs.append((instance, discretisation.solve([instance], solve)[0]))
    return family, discretisation, pairs, solve


def test_every_parameter_changes_the_solution(solved: Any) -> None:
    _, discretisation, _, _ = solved
    assert discretisation.forgotten() == []


def test_every_family_has_a_small_dataset_a_page_and_a_picture() -> None:
    of = {dataset(name).family for name in NAMES}
    assert of == set(FAMILIES)
    for family in FAMILIES:
        page = ROOT / f"docs/families/{family}.md"
        assert page.is_file()
        assert f"../images/families/{family}.png" in page.read_text()
        assert (ROOT / f"docs/images/families/{family}.png").is_file()
        assert f"({family}.md)" in (ROOT / "docs/families/index.md").read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=NAMES)
def test_the_small_dataset_has_the_name_of_its_file(path: Path) -> None:
    assert list(load_config(path).datasets) == [path.stem]


def test_every_family_is_listed_and_described() -> None:
    lines = list_families().splitlines()
    for name in FAMILIES:
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert len(line) <= 120 and len(line.split()) > 3
        assert "operator:" in describe_family(name)


@pytest.mark.parametrize("name", NAMES)
def test_instances_depend_on_seed_and_index_alone(name: str) -> None:
    family, again = coarse_family(name), coarse_family(name)
    first = [family.draw(generator(5, index)) for index in range(3)]
    second = [again.draw(generator(5, index)) for index in (2, 1, 0)][::-1]
    other = family.draw(generator(6, 0))
    for one, two in zip(first, second, strict=True):
        assert one.keys() == {variable.name for variable in family.parameters}
        assert all(np.array_equal(one[key], two[key]) for key in one)
    varying = [v.name for v in family.parameters if not v.fixed]
    for key in varying:
        assert not np.array_equal(first[0][key], first[1][key])
        assert not np.array_equal(first[0][key], other[key])


@pytest.mark.parametrize("name", NAMES)
def test_arrays_have_the_shapes_that_the_variables_say(name: str) -> None:
    family = load_family(dataset(name))
    instance = family.draw(generator(0, 0))
    for variable in family.parameters:
        values = np.asarray(instance[variable.name])
        assert np.isfinite(values).all()
        if set(variable.axes) <= set(family.coordinates):
            shape = tuple(len(family.coordinates[axis]) for axis in variable.axes)
            assert values.shape == shape + (family.dimension,) * variable.rank


def test_solutions_have_every_field_and_unknown(solved: Any) -> None:
    family, discretisation, pairs, _ = solved
    times = () if family.times is None else (len(family.times),)
    grid = tuple(len(axis) for axis in family.coordinates.values())
    shared = discretisation.masks().get(None, np.ones(grid))
    for _, solution in pairs:
        inside = solution.get("inside", shared).astype(bool)
        assert solution.keys() - {"inside"} == {v.name for v in (*family.fields, *family.unknowns)}
        for field in family.fields:
            assert solution[field.name].shape == times + grid + (family.dimension,) * field.rank
            assert respects(solution[field.name], inside, field.rank)
        assert all(np.isfinite(solution[v.name]).all() for v in family.unknowns)


def test_residual_is_that_of_what_is_stored(solved: Any) -> None:
    family, discretisation, pairs, _ = solved
    # Solve the first instance again: the others have left nothing in the storage.
    instance, solution = pairs[0]
    assert discretisation.residual(instance, solution) < 1e-8
    own = [v.name for v in family.unknowns if v.name.endswith("_dofs")] or [family.fields[0].name]
    changed = {name: values.copy() for name, values in solution.items()}
    values = changed[own[0]].reshape(-1)
    values[len(values) // 2 - 3] += 1e-2 * abs(values).max()
    assert discretisation.residual(instance, changed) > 1e-6


def test_solving_again_gives_the_same_bits(solved: Any) -> None:
    _, discretisation, pairs, _ = solved
    instance, solution = pairs[0]
    again = discretisation.solve([instance], SolveAndKeep())[0]
    for name in solution:
        np.testing.assert_array_equal(again[name], solution[name])


def test_further_grids_show_the_same_functions(solved: Any) -> None:
    family, discretisation, pairs, _ = solved
    if not family.mesh.grids:
        pytest.skip("a mesh with an even number of points")
    instance, solution = pairs[1]
    resampled = discretisation.resample(family.mesh.grids[0], instance, solution)
    on_grid = [v for v in (*family.parameters, *family.fields) if len(v.axes) == family.dimension]
    on_grid = [v for v in on_grid if set(v.axes) == set(family.coordinates)]
    masks = {"inside"} & solution.keys()
    assert {v.name for v in family.fields} <= resampled.keys() == {v.name for v in on_grid} | masks
    every_second = (..., *(slice(None, None, 2) for _ in range(family.dimension)))
    for variable in on_grid:
        values = np.asarray({**instance, **solution}[variable.name])
        at = (*every_second, slice(None)) if variable.rank else every_second
        np.testing.assert_allclose(
            resampled[variable.name], values[at], rtol=1e-10, atol=1e-10 * np.nanmax(abs(values))
        )


def test_the_stored_mesh_fills_the_domain(solved: Any) -> None:
    family, discretisation, _, _ = solved
    meshes = discretisation.meshes()
    for name in [name.removesuffix("_cells") for name in meshes if name.endswith("_cells")]:
        if f"{name}_tangents" in meshes:  # whose nodes are on edges
            continue
        # The corners of a cell come first among its nodes.
        corners = meshes[f"{name}_points"][meshes[f"{name}_cells"][:, : family.dimension + 1]]
        sides = corners[:, 1:] - corners[:, :1]
        volume = abs(np.linalg.det(sides)).sum() / math.factorial(family.dimension)
        boxes = np.prod([axis[-1] - axis[0] for axis in family.coordinates.values()])
        assert volume == pytest.approx(boxes - (0.08 if name == "T" else 0))


def test_operator_is_as_declared(solved: Any) -> None:
    family, _, _, solve = solved
    assert false_claims(family.operator, solve.matrices) == []


def test_a_constant_operator_is_assembled_once(solved: Any) -> None:
    family, _, _, solve = solved
    if not family.operator.constant:
        pytest.skip("not constant")
    assert len(set(solve.handles)) == len(set(solve.states)) == 1


def test_false_traits_are_found(solved: Any) -> None:
    family, _, _, solve = solved
    everything = OperatorTraits(symmetric=True, definite=True, constant=True, saddle_point=True)
    assert false_claims(everything, solve.matrices)
    unsymmetric = [a.copy() for a in solve.matrices[:1]]
    unsymmetric[0].data[1] += abs(unsymmetric[0]).max()
    assert "symmetric" in false_claims(replace(family.operator, symmetric=True), unsymmetric)


@pytest.mark.parametrize("name", ["poisson", "thermal", "navier_stokes"])
def test_lifted_values_of_a_group_equal_those_of_dolfinx(name):
    systems = []
    for with_kernels in (True, False):
        family = coarse_family(name)
        found = []

        class Watch:
            tolerance = 1e-8

            def __call__(self, operator, rhs, found=found):
                found.append(rhs.array_r.copy())
                raise InterruptedError

        discretisation = family.discretise(MPI.COMM_SELF)
        discretisation.with_kernels = with_kernels
        for index in range(2):
            with pytest.raises(InterruptedError):
                discretisation.solve([family.draw(generator(0, index))], Watch())
        systems.append(found)
    for group, plain in zip(*systems, strict=True):
        assert np.linalg.norm(plain) > 0
        assert np.abs(group - plain).max() <= 1e-13 * np.abs(plain).max()
