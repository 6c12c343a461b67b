# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that a dataset says what its configuration and its family make it say."""

from collections.abc import Callable

from kryloset.dataset.derivation import differences
from kryloset.dataset.layout import grid_group
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.krylov.reason import MEANINGS
from kryloset.problems import Discretisation, Family
from kryloset.problems.checks.stored import check_stored
from kryloset.run.checks.failures import refuse
from kryloset.run.checks.family import load_same_family
from kryloset.version import __version__


def check_description(data: Dataset, make: Callable[[], tuple[Family, Discretisation]]) -> str:
    """Check that configuration and family reproduce everything except the instances' numbers.

    Args:
        data: The dataset.
        make: Returns its family and the discretisation. It is called once the sizes fit.

    Returns:
        What was found.

    Raises:
        DataError: The file has something else, or its family cannot be loaded.
    """
    family = load_same_family(data)
    # Checked before anything is built: a configuration may ask for more than memory holds.
    grid = tuple(len(axis) for axis in family.coordinates.values())
    with describable(data.path):
        count, stored = len(data), data.grid
        failures = data.provenance().failures
    left_out = len({failure.instance for failure in failures if failure.left_out})
    if stored != grid or count != data.config.total - left_out or not count:
        raise DataError(
            f"it has {count} instances on a grid of {stored} points, and its configuration "
            f"makes {data.config.total} on {grid}, of which {left_out} are left out"
        )
    for points in data.config.mesh.grids:
        if grid_group(points) not in data.file:
            raise DataError(f"/{grid_group(points)} is missing")
    _, discretisation = make()
    try:
        instance, solution = data.instance(0), data.solution(0)
        check_stored(family, solution)
        grids = data.config.mesh.grids
        resampled = {n: discretisation.resample(n, instance, solution) for n in grids}
    except (
        Exception
    ) as error:  # A family may raise any exception for an instance that it would not draw.
        raise DataError(f"instance 0 is not one of {data.config.family}: {error}") from error
    meshes, masks = discretisation.meshes(), discretisation.masks()
    with describable(data.path):
        wrong = differences(data, family, MEANINGS, meshes, masks, resampled)
        made, here = data.version, __version__
    other = "" if made == here else f" (made by kryloset {made}, and this is {here})"
    refuse(f"what differs from that of configuration and family{other}", wrong)
    return "groups, attributes, axes, coordinates and boundary values derived again"
