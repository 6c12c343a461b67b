# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw the parameters of every instance."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.layout import require_storable
from kryloset.dataset.staged import create_staged
from kryloset.errors import FamilyError
from kryloset.problems import Family, Instance, load_family
from kryloset.problems.base import Array
from kryloset.problems.checks.drawing import Drawing
from kryloset.problems.checks.mistakes import describe_class
from kryloset.problems.checks.variety import Variety, never_varying
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.run import files

logger = logging.getLogger(__name__)


def run(config: DatasetConfig, name: str, *, output: Path) -> None:
    """Draw `config.count` instances, each from (seed, index) alone.

    Writes `/parameters/<name>` with the instances along the first axis, float64.

    Args:
        config: The dataset.
        name: Its name.
        output: The file to write, `parameters.h5`.

    Raises:
        ConfigError: The family or its settings are wrong.
        DataError: A drawn parameter is not finite or does not describe an instance; or the family
            has variables that cannot be stored.
        FamilyError: `draw` did not return the parameters, or did not take all randomness from its
            generator; or instances or parameters do not differ.
    """
    family = load_family(config)
    require_storable(family)
    with create_staged(output) as file:
        file.attrs[files.CONFIG] = dump_dataset(name, config)
        file.attrs[files.CODE] = stage_identity("sample", family)
        for instance in draw_instances(family, config.seed, config.count):
            for parameter, values in instance.items():
                file.rows(files.parameter(parameter), np.asarray(values)[np.newaxis], config.count)


def draw_instances(family: Family, seed: int, count: int) -> Iterator[dict[str, Array]]:
    """Draw instances of a family, each from (seed, index) alone, and show the progress.

    Args:
        family: The family.
        seed: Seed of the dataset.
        count: Number of instances, at least one.

    Yields:
        The parameters of each instance by name, float64.

    Raises:
        DataError: A drawn parameter is not finite or does not describe an instance.
        FamilyError: As `run`; instances are compared after the last one.
    """
    draw, variety = Drawing(family), Variety()
    for index in track(range(count), "drawing instances"):
        instance = draw(seed, index)
        variety.add(index, instance)
        yield instance
    _require_reproducible(family, seed, index, instance)
    _require_variety(family, seed, variety)


def _require_reproducible(family: Family, seed: int, index: int, instance: Instance) -> None:
    """Refuse a `draw` that depends on anything but its generator.

    Raises:
        FamilyError: Another object of the family draws a different instance from the same index.
    """
    again = Drawing(type(family)(family.settings, family.mesh))(seed, index)
    for name, values in again.items():
        if values.tobytes() != instance[name].tobytes():
            raise FamilyError(
                f"{describe_class(family)}: instance {index} has another {name!r} when it is drawn "
                "alone: `draw` must take all randomness from `generator`, and keep nothing from "
                "one instance to the next"
            )


def _require_variety(family: Family, seed: int, variety: Variety) -> None:
    """Refuse equal instances, and parameters that vary or do not vary against their declaration.

    Raises:
        FamilyError: There are any.
    """
    where = describe_class(family)
    if variety.duplicates:
        (one, other), *more = variety.duplicates
        besides = f", and so are {len(more)} more pairs" if more else ""
        raise FamilyError(
            f"{where}: instances {one} and {other} are the same{besides}: let `draw` take its "
            "numbers from `generator`, and from a range with more values than there are instances"
        )
    fixed = {variable.name for variable in family.parameters if variable.fixed}
    varied = sorted(fixed & variety.varied)
    if varied:
        raise FamilyError(
            f"{where}: {', '.join(varied)} is declared fixed, and differs from instance to "
            "instance: drop `fixed=True`, or draw it without randomness"
        )
    constant = [name for name in variety.constant if name not in fixed]
    if not constant:
        return
    wrong = never_varying(family, seed, constant)
    if wrong:
        raise FamilyError(
            f"{where}: {', '.join(wrong)} is the same in all instances: let `draw` take it from "
            "`generator`, or declare `Variable(..., fixed=True)`"
        )
    logger.warning("constant because of the family's settings: %s", ", ".join(constant))
