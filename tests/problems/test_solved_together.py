# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A group of instances has the solutions that its members have alone, in any order."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
from coarse import NAMES, coarse_family

from directly import solve_directly
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.sampling import generator

#: Relative. Sums of a group are in another order, and a matrix multiplies the difference by its
#: condition.
ROUNDING = 1e-11


@pytest.fixture(scope="module", params=NAMES)
def grouped(request: pytest.FixtureRequest) -> tuple[Any, list[Any], list[Any]]:
    """A discretisation, three instances and their solutions as a group."""
    family = coarse_family(request.param)
    discretisation = discretise(family, MPI.COMM_SELF)
    if discretisation.lanes == 1:
        assert any(variable.ragged for variable in family.unknowns)
        pytest.skip("a mesh an instance")
    instances = [family.draw(generator(0, index)) for index in range(3)]
    return discretisation, instances, discretisation.solve(instances, solve_directly)


def test_a_group_has_the_solutions_of_its_members_alone(grouped):
    discretisation, instances, together = grouped
    newton = discretisation.nonlinear_residuals()
    assert len(newton) in (0, 3)
    allowed = solve_directly.tolerance if newton else ROUNDING
    for instance, found in zip(instances, together, strict=True):
        (alone,) = discretisation.solve([instance], solve_directly)
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            assert found[name].shape == expected.shape
            inside = ~np.isnan(expected)
            np.testing.assert_array_equal(~np.isnan(found[name]), inside)
            difference = np.linalg.norm((found[name] - expected)[inside])
            assert difference <= allowed * np.linalg.norm(expected[inside]), name


def test_an_instance_has_the_same_bits_in_any_lane_of_an_ensemble(grouped):
    discretisation, instances, together = grouped
    order = [2, 0, 1, 2]
    again = discretisation.solve([instances[number] for number in order], solve_directly)
    for lane, number in enumerate(order):
        for name, expected in together[number].items():
            np.testing.assert_array_equal(again[lane][name], expected)


def test_residuals_of_a_group_are_within_the_tolerance(grouped):
    discretisation, instances, together = grouped
    for instance, found in zip(instances, together, strict=True):
        assert discretisation.residual(instance, found) <= solve_directly.tolerance


def test_an_invalid_instance_is_refused_in_a_group():
    family = coarse_family(NAMES[1])
    good = family.draw(generator(0, 0))
    with pytest.raises(DataError, match=r"parameter k .* must be positive"):
        discretise(family, MPI.COMM_SELF).solve([good, {"k": -good["k"]}], solve_directly)
