# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The values of a solution on the further grids of a dataset."""

from collections.abc import Sequence

from kryloset.config import GridPoints, plain
from kryloset.errors import DataError
from kryloset.problems import Discretisation, Family, Instance
from kryloset.problems.checks.stored import check_resampled
from kryloset.run import files
from kryloset.run.solve_record import Solution


def evaluate_further(
    grids: Sequence[GridPoints],
    family: Family,
    discretisation: Discretisation,
    instance: Instance,
    solution: Solution,
    *,
    check: bool,
) -> Solution:
    """Evaluate a solution on further grids, without solving anything.

    Args:
        grids: Points of each.
        family: The family.
        discretisation: Its discretisation.
        instance: The parameters.
        solution: Fields and unknowns, as the discretisation returned them.
        check: Whether arrays are compared with what the family declares.

    Returns:
        The values by their keys, from `files.on_grid`.

    Raises:
        DataError: The discretisation cannot be evaluated on further grids.
        FamilyError: An array is not what the family declares.
    """
    try:
        resampled = {p: discretisation.resample(p, instance, solution) for p in grids}
    except NotImplementedError as error:
        raise DataError(
            f"mesh.grids {plain(tuple(grids))}: family {type(family).__name__} cannot be evaluated "
            f"on further grids ({error}); leave `grids` empty"
        ) from error
    if check:
        for points, arrays in resampled.items():
            check_resampled(family, points, arrays)
    return {
        files.on_grid(points, name): values
        for points, arrays in resampled.items()
        for name, values in arrays.items()
    }
