# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What made the instances that a dataset kept from the datasets before it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from kryloset.errors import DataError


@dataclass(frozen=True)
class Earlier:
    """An earlier run, of which a dataset kept instances.

    Attributes:
        instances: It made the instances below this number that no run before it made.
        code: Identity of its code by stage.
        versions: Versions of its programs.
        choices: The recorded selections as JSON; None if its solver was fixed.
    """

    instances: int
    code: Mapping[str, str]
    versions: Mapping[str, str]
    choices: str | None


def count_kept(runs: Sequence[Earlier]) -> int:
    """Return how many instances were kept: the first ones."""
    return runs[-1].instances if runs else 0


def keep_first(runs: Sequence[Earlier], count: int) -> tuple[Earlier, ...]:
    """Return the runs that made the first instances, of which there may be more."""
    found: list[Earlier] = []
    for run in runs:
        if count_kept(found) < count:
            found.append(replace(run, instances=min(run.instances, count)))
    return tuple(found)


def dump_earlier(runs: Sequence[Earlier]) -> str:
    """Return runs as JSON, the first one first."""
    return json.dumps([asdict(run) for run in runs])


def parse_earlier(text: str, source: str) -> tuple[Earlier, ...]:
    """Return what `dump_earlier` was given.

    Args:
        text: The JSON.
        source: Where it comes from, as the message names it.

    Raises:
        DataError: It is something else.
    """
    try:
        runs = tuple(Earlier(**run) for run in json.loads(text))
        counts = [0, *(run.instances for run in runs)]
        if not all(a < b for a, b in pairwise(counts)):
            raise ValueError(f"the numbers of instances {counts[1:]} do not ascend")
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{source} is not a list of earlier runs: {error}") from None
    return runs
