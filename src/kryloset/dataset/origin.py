# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a dataset comes from: what made it, and the instances that it kept from others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import h5py

from kryloset.dataset.failures import Failure, parse_failures
from kryloset.errors import DataError


@dataclass(frozen=True)
class Earlier:
    """An earlier run, of which a dataset kept instances.

    Attributes:
        instances: It made the instances below this number that no run before it made.
        code: Identity of its code by stage.
        versions: Versions of its programs.
        choices: The recorded selections as JSON, without those of shifted instances; None if its
            solver was fixed.
    """

    instances: int
    code: Mapping[str, str]
    versions: Mapping[str, str]
    choices: str | None


@dataclass(frozen=True)
class Provenance:
    """Where a dataset comes from: what it takes to make it again.

    Attributes:
        config: The YAML text of its configuration.
        family: The source of the user's own family; None for a family of the package.
        versions: Versions by program.
        code: Identity of the code by stage.
        parameters: Digest of the parameters.
        earlier: The runs that made the instances that were kept from earlier datasets.
        failures: What failed and was drawn again or left out, ascending by instance and attempt.
    """

    config: str
    family: str | None
    versions: Mapping[str, str]
    code: Mapping[str, str]
    parameters: str
    earlier: tuple[Earlier, ...]
    failures: tuple[Failure, ...]


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


def read_provenance(file: h5py.File) -> Provenance:
    """Return what an open dataset says of its origin.

    Raises:
        DataError: A part is not what the writer writes; HDF5 and h5py raise other types.
    """
    group = file["provenance"]
    names, where = ("earlier", "failures"), f"{file.filename}: /provenance/"
    lists = {name: str(group[name].asstr()[()]) if name in group else "[]" for name in names}
    return Provenance(
        config=str(group["config"].asstr()[()]),
        family=group["family"].asstr()[()] if "family" in group else None,
        versions=_texts(group["versions"]),
        code=_texts(group["code"]),
        parameters=str(group.attrs["parameters"]),
        earlier=parse_earlier(lists["earlier"], f"{where}earlier"),
        failures=parse_failures(lists["failures"], f"{where}failures"),
    )


def _texts(group: h5py.Group) -> dict[str, str]:
    """Return the attributes of a group, each of which is a text that can be printed."""
    texts = dict(group.attrs)
    for name, text in texts.items():
        # h5py returns bytes that are not UTF-8 as a string that cannot be written anywhere.
        if not isinstance(text, str) or not text.isprintable():
            raise DataError(
                f"{group.file.filename}: {group.name} has the attribute {name!r} with {text!r}, "
                "which is no text"
            )
    return texts
