# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of a family's `draw`: it depends on its generator alone, and its instances differ."""

import logging

from kryloset.errors import DataError, FamilyError
from kryloset.problems import Family, Instance
from kryloset.problems.checks.drawing import Given
from kryloset.problems.checks.mistakes import describe_class
from kryloset.problems.checks.variety import Variety, never_varying

logger = logging.getLogger(__name__)


def require_reproducible(family: Family, again: Instance, instance: Instance, index: int) -> None:
    """Refuse a `draw` that depends on anything but its generator.

    Args:
        family: The family.
        again: The instance as another object of the family draws it.
        instance: The instance.
        index: Its number.

    Raises:
        FamilyError: They differ.
    """
    for name, values in again.items():
        if values.tobytes() != instance[name].tobytes():
            raise FamilyError(
                f"{describe_class(family)}: instance {index} has another {name!r} when it is drawn "
                "alone: `draw` must take all randomness from `generator`, and keep nothing from "
                "one instance to the next"
            )


def require_variety(
    family: Family, seed: int, variety: Variety, given: Given | None = None
) -> None:
    """Refuse equal instances, and parameters that vary or do not vary against their declaration.

    Raises:
        DataError: The instances of a file are equal, or a fixed parameter varies in it.
        FamilyError: Those that are drawn are or do.
    """
    where, names = describe_class(family), frozenset(given.names if given else ())
    if variety.duplicates:
        (one, other), *more = variety.duplicates
        besides = f", and so are {len(more)} more pairs" if more else ""
        same = f"{where}: instances {one} and {other} are the same{besides}: "
        if given:
            raise DataError(f"{same}write each instance to the file once")
        raise FamilyError(
            f"{same}let `draw` take its numbers from `generator`, and from a range with more "
            "values than there are instances"
        )
    fixed = {variable.name for variable in family.parameters if variable.fixed}
    varied = sorted(fixed & variety.varied)
    if names.intersection(varied):
        raise DataError(
            f"{where}: {', '.join(varied)} is declared fixed, and differs from instance to "
            "instance in the file: give all instances the same, or drop `fixed=True`"
        )
    if varied:
        raise FamilyError(
            f"{where}: {', '.join(varied)} is declared fixed, and differs from instance to "
            "instance: drop `fixed=True`, or draw it without randomness"
        )
    constant = [name for name in variety.constant if name not in fixed]
    if names.intersection(constant):
        shared = ", ".join(sorted(names.intersection(constant)))
        logger.warning("the same for all instances of the file: %s", shared)
    constant = [name for name in constant if name not in names]
    if not constant:
        return
    wrong = never_varying(family, seed, constant)
    if wrong:
        raise FamilyError(
            f"{where}: {', '.join(wrong)} is the same in all instances: let `draw` take it from "
            "`generator`, or declare `Variable(..., fixed=True)`"
        )
    logger.warning("constant because of the family's settings: %s", ", ".join(constant))
