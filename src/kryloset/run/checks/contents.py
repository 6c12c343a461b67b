# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of the stored numbers by themselves: nothing is solved or drawn again."""

import numpy as np

from kryloset.dataset.reader import Dataset
from kryloset.dataset.splits import split_indices
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.problems.checks.coverage import respects
from kryloset.problems.checks.variety import Variety, never_varying, varying
from kryloset.run.checks.failures import refuse
from kryloset.run.checks.family import load_same_family

#: Relative error allowed in statistics, sums whose rounding depends on the processor.
STATISTICS_ROUNDING = 1e-12


def check_finite(data: Dataset) -> str:
    """Check that all values are finite, except that fields are NaN outside the domain."""
    wrong = []
    for index in range(len(data)):
        inside = data.inside(index)
        for name, values in {**data.instance(index), **data.solution(index)}.items():
            if inside is None or name not in data.fields:
                right = bool(np.isfinite(values).all())
            else:
                right = respects(values, inside, data.rank(name))
            if not right:
                wrong.append(f"instance {index}: {name}")
    refuse("values that are not finite, or not NaN outside the domain", wrong)
    return f"all values of {', '.join((*data.parameters, *data.fields, *data.unknowns))}"


def check_not_constant(data: Dataset) -> str:
    """Check that every solution varies in space, and every parameter between instances.

    Parameters that the family declares fixed must not vary, and those that its settings make
    constant need not.
    """
    wrong = []
    for index in range(len(data)):
        for name in data.fields:
            values = data.within(name, index)
            if values.size > 1 and np.ptp(values) == 0:
                wrong.append(f"instance {index}: {name}")
    variety = _variety(data)
    varied = variety.varied
    fixed = {name for name in data.parameters if data.array(name).attrs.get("fixed", False)}
    constant = [name for name in variety.constant if name not in fixed]
    if constant:
        family, seed = load_same_family(data), data.config.seed
        # Either it was drawn so, or the file does not have what was drawn.
        unlike = varying(family, seed, len(data)).union(never_varying(family, seed, constant))
        wrong += [f"all instances: {name}" for name in constant if name in unlike]
    refuse("fields that are constant", wrong)
    refuse("parameters that are declared fixed but vary", sorted(varied & fixed))
    same = {"declared fixed": sorted(fixed), "by its settings": constant}
    but = [f"{', '.join(names)}, {why}" for why, names in same.items() if names]
    return "every solution varies in space, every parameter from instance to instance" + (
        f" but {'; '.join(but)}" if but else ""
    )


def _variety(data: Dataset) -> Variety:
    variety = Variety()
    for index in range(len(data)):
        variety.add(index, data.instance(index))
    return variety


def check_no_duplicates(data: Dataset) -> str:
    """Check that no two instances have the same parameters."""
    duplicates = _variety(data).duplicates
    wrong = [f"instances {first} and {index}" for first, index in duplicates]
    refuse("parameters that are the same", wrong)
    return f"{len(data)} different parameter sets"


def check_splits(data: Dataset) -> str:
    """Check that the splits are disjoint, complete, and those of the seed."""
    stored = data.splits()
    together = np.sort(np.concatenate(list(stored.values())))
    if not np.array_equal(together, np.arange(len(data))):
        raise DataError("the splits share instances or leave some out")
    for name, indices in split_indices(data.config).items():
        if not np.array_equal(indices, stored[name]):
            raise DataError(f"split {name} is not the one of seed {data.config.seed}")
    sizes = ", ".join(f"{name} {len(indices)}" for name, indices in stored.items())
    return f"{sizes}: disjoint, complete, and those of seed {data.config.seed}"


def check_statistics(data: Dataset) -> str:
    """Check that the statistics are those of the training split."""
    names = (*data.parameters, *data.fields)
    moments = {name: Moments() for name in names}
    for index in data.splits()["train"]:
        for name in names:
            with np.errstate(invalid="ignore"):  # `check_finite` names values that are not finite.
                moments[name].add(data.within(name, index))
    wrong = []
    for name in names:
        expected, stored = moments[name].summary(), data.statistics(name)
        scale = expected["rms"] * STATISTICS_ROUNDING
        wrong += [
            f"{key} of {name} is {stored.get(key)}, but {value} for the training split"
            for key, value in expected.items()
            if not abs(stored.get(key, np.nan) - value) <= scale
        ]
    refuse("statistics that are not those of the training split", wrong)
    return f"recomputed from the {len(data.splits()['train'])} instances of train"
