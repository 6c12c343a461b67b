# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw instances, each from (seed, index) alone: in turn, or again wherever they are needed.

One that failed is drawn by its next attempt, if the run allows failures.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.config import Precision
from kryloset.dataset.failures import Failure, Failures
from kryloset.dataset.integrity import DIGEST, digest_instance, digest_rows
from kryloset.dataset.layout import narrow
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError, FamilyError
from kryloset.problems import Family, Instance
from kryloset.problems.base import Array
from kryloset.problems.checks.drawing import Drawing, Given
from kryloset.problems.checks.mistakes import describe_class
from kryloset.problems.checks.variety import Variety, never_varying
from kryloset.processes import in_processes
from kryloset.progress import track
from kryloset.run import files

logger = logging.getLogger(__name__)


BLOCK_BYTES = 2**23
"""Bytes of parameters that are in memory at a time, unless one instance has more."""

LEAST_BLOCKS = 4
"""Blocks that a process draws at least, since it takes longer to start than one."""

#: From the numbers of some instances and their parameters to a row for each, shape (instances, d).
type Reduction = Callable[[Sequence[int], Sequence[Instance]], Array]


class Instances(Protocol):
    """Numbered instances of a family."""

    def instances(self, indices: Sequence[int]) -> list[dict[str, Array]]:
        """Return the parameters of some instances by name."""


class Drawn:
    """The instances of a dataset, each drawn when it is asked for.

    Args:
        family: Their family.
        seed: Seed of the dataset.
        order: An open `order.h5`. Then instances are compared with those that were sorted.
        given: The parameters that are not drawn; None if all are.
        failures: What failed before; None if nothing has, and nothing may.
        precision: As of `Drawing`.

    Attributes:
        failures: What has failed so far.
    """

    def __init__(
        self,
        family: Family,
        seed: int,
        order: StagedFile | None = None,
        given: Given | None = None,
        failures: Failures | None = None,
        precision: Precision = "float64",
    ) -> None:
        """Draw nothing yet."""
        self.failures = Failures() if failures is None else failures
        self._sorted = dict(self.failures.attempts)
        self._family = family
        self._seed = seed
        self._draw = Drawing(family, given, self.failures.attempts, precision)
        self._given = given
        self._order = order

    def redraw(self, index: int, error: Exception) -> dict[str, Array]:
        """Draw another instance for the number of one that could not be solved.

        Args:
            index: The number.
            error: Why it could not.

        Raises:
            DataError: More instances have failed than may.
            Exception: The error itself, if none may.
        """
        self.failures.add(index, "solve", error)
        logger.warning("instance %d is drawn again: %s", index, error)
        return self.instances([index])[0]

    def instances(self, indices: Sequence[int]) -> list[dict[str, Array]]:
        """Draw some instances.

        Raises:
            DataError: As `Drawing`.
            FamilyError: As `Drawing`; or an instance is not the one that was sorted, which is a
                `DataError` where parameters lie in a file.
        """
        return self.digested(indices)[0]

    def _is_sorted(self, index: int) -> bool:
        """Return whether an instance is the one that was sorted, and has not failed since."""
        return self.failures.attempts[index] == self._sorted.get(index, 0)

    def _draw_one(self, index: int) -> dict[str, Array]:
        """Draw an instance. One that was sorted was valid then."""
        if self._order is not None and self._is_sorted(index):
            return self._draw(self._seed, index)
        return draw_valid(self._draw, self._seed, index, self.failures)

    def digested(self, indices: Sequence[int]) -> tuple[list[dict[str, Array]], list[bytes]]:
        """Draw some instances, and return with them the digests of their parameters.

        Returns:
            The parameters of each instance by name; and of each instance, from `digest_rows`, the
            digests of its parameters.

        Raises:
            DataError: As `instances`.
            FamilyError: As `instances`.
        """
        found = [self._draw_one(index) for index in indices]
        precision = self._draw.precision
        rows = [digest_rows(narrow(instance.values(), precision)) for instance in found]
        if self._order is not None:
            digests = self._order.array(files.DRAWN)
            for index, digested in zip(indices, rows, strict=True):
                if not self._is_sorted(index):
                    continue
                if sha256(digested).digest() != digests[index].tobytes():
                    if self._given is not None:
                        raise DataError(
                            f"instance {index} is not the one that {self._order.path} was made "
                            f"from: {', '.join(self._given.names)} lie in a file that has changed "
                            "since, or another version or kind of machine draws the rest: sort "
                            "again, and let nothing write to the file"
                        )
                    raise FamilyError(
                        f"{describe_class(self._family)}: instance {index} is not the one that "
                        f"{self._order.path} was made from: `draw` must take all randomness from "
                        "`generator`, and keep nothing from one instance to the next; if it does, "
                        "another version of a library or another kind of processor gives other "
                        "bits: take functions such as `exponential` from kryloset.sampling, or "
                        "sort and solve on machines of one kind"
                    )
        return found, rows


def draw_valid(draw: Drawing, seed: int, index: int, failures: Failures) -> dict[str, Array]:
    """Draw an instance, by its next attempt as often as it is none of the family.

    Args:
        draw: Draws it by the attempt that `failures` says.
        seed: Seed of the dataset.
        index: Number of the instance.
        failures: Takes what fails.

    Raises:
        DataError: It is none, and no more instances may fail.
        FamilyError: As `Drawing`.
    """
    while True:
        try:
            return draw(seed, index)
        except DataError as error:
            failures.add(index, "draw", error)


def draw_all(
    family: Family,
    seed: int,
    count: int,
    reduce: Reduction,
    workers: int = 1,
    given: Given | None = None,
    known: Sequence[Instance] = (),
    failures: Failures | None = None,
    precision: Precision = "float64",
) -> tuple[NDArray[np.uint8], Array]:
    """Draw all instances of a dataset a block at a time, and keep their digests and features.

    Args:
        family: The family.
        seed: Seed of the dataset.
        count: Number of instances, at least one.
        reduce: Makes the features of the instances of a block.
        workers: Most processes that draw at once; fewer if they would have few blocks each.
        given: The parameters that are not drawn; None if all are.
        known: The first instances, if they are known. They are not drawn.
        failures: What failed before, to which is added what fails now; None if nothing may.
        precision: As of `Drawing`.

    Returns:
        The digest of each instance, (count, 32), and its features, (count, d).

    Raises:
        DataError: As `draw_instances`.
        FamilyError: As `draw_instances`.
    """
    failures = Failures() if failures is None else failures
    draw = Drawing(family, given, failures.attempts, precision)
    # The first instance sets the lengths of axes that the grid does not have, for all processes.
    length = block_length(draw_valid(draw, seed, 0, failures))
    blocks = [range(begin, min(begin + length, count)) for begin in range(0, count, length)]
    job = _Job(family, seed, draw, reduce, given, known, failures)
    variety = Variety()
    digests = np.empty((count, DIGEST), np.uint8)
    features: list[Array] = []
    with in_processes(job, min(workers, len(blocks) // LEAST_BLOCKS)) as work:
        found = track(
            work(blocks), "drawing instances", count, amount=lambda block: len(block.digests)
        )
        for numbers, block in zip(blocks, found, strict=True):
            digests[numbers.start : numbers.stop] = block.digests
            features.append(block.features)
            variety.update(block.variety)
            failures.update(block.failures)
    _require_variety(family, seed, variety, given)
    return digests, np.concatenate(features)


@dataclass(frozen=True)
class _Block:
    """What is kept of a block of instances: digests (n, 32), features (n, d) and the rest."""

    digests: NDArray[np.uint8]
    features: Array
    variety: Variety
    failures: list[Failure]


@dataclass(frozen=True)
class _Job:
    """Draws blocks of instances."""

    family: Family
    seed: int
    draw: Drawing
    reduce: Reduction
    given: Given | None
    known: Sequence[Instance]
    failures: Failures

    def __call__(self, numbers: Sequence[int]) -> _Block:
        """Draw the instances with some numbers."""
        count, before = len(self.known), len(self.failures)
        instances = [
            self.known[number]
            if number < count
            else draw_valid(self.draw, self.seed, number, self.failures)
            for number in numbers
        ]
        if numbers[-1] >= count:
            again = Drawing(
                type(self.family)(self.family.settings, self.family.mesh),
                self.given, self.failures.attempts, self.draw.precision,
            )  # fmt: skip
            _require_reproducible(
                self.family, again(self.seed, numbers[-1]), instances[-1], numbers[-1]
            )
        precision = self.draw.precision
        digests = [digest_instance(narrow(one.values(), precision)) for one in instances]
        variety = Variety()
        for number, instance, digest in zip(numbers, instances, digests, strict=True):
            variety.add(number, instance, digest)
        table = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
        failed = self.failures.since(before)
        return _Block(table, self.reduce(numbers, instances), variety, failed)


def block_length(instance: Instance) -> int:
    """Return how many instances of this size are in memory at a time."""
    return max(1, BLOCK_BYTES // sum(np.asarray(values).nbytes for values in instance.values()))


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
        FamilyError: `draw` did not return the parameters, or did not take all randomness from its
            generator; or instances or parameters do not differ. Instances are compared after the
            last one.
    """
    draw, variety = Drawing(family), Variety()
    for index in track(range(count), "drawing instances"):
        instance = draw(seed, index)
        variety.add(index, instance, digest_instance(instance.values()))
        yield instance
    again = Drawing(type(family)(family.settings, family.mesh))
    _require_reproducible(family, again(seed, index), instance, index)
    _require_variety(family, seed, variety)


def _require_reproducible(family: Family, again: Instance, instance: Instance, index: int) -> None:
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


def _require_variety(
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
