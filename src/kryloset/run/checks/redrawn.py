# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of the instances that failed and were drawn again or left out."""

from collections import Counter
from collections.abc import Sequence

from kryloset.dataset.failures import Failure, describe_failures
from kryloset.errors import DataError
from kryloset.problems.checks.drawing import Given
from kryloset.problems.populations import Drawings, Population
from kryloset.run.checks.failures import Faults


def check_redrawn(
    populations: Sequence[Population],
    seed: int,
    failures: Sequence[Failure],
    given: Given | None = None,
) -> str:
    """Check that what failed as it was drawn still fails.

    Whether what failed as it was solved could be solved by other means is not asked.

    Args:
        populations: Those of the dataset.
        seed: Seed of the dataset.
        failures: The failures, each of the next attempt of an instance.
        given: The parameters that are not drawn; None if all are.
    """
    attempts: Counter[int] = Counter()
    draw = Drawings(populations, given, attempts)
    faults = Faults("failures of instances that are valid")
    for failure in failures:
        if failure.stage == "draw" and not _fails(draw, seed, failure.instance):
            faults.add([(failure.instance, f"attempt {failure.attempt}")])
        attempts[failure.instance] += 1
    faults.refuse()
    return describe_failures(failures)


def _fails(draw: Drawings, seed: int, index: int) -> bool:
    try:
        draw(seed, index)
    except DataError:
        return True
    return False
