# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw instances, each from (seed, index) alone: in turn, or again wherever they are needed.

One that failed is drawn by its next attempt or left out, if the run allows failures.
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
from kryloset.problems.checks.variety import Variety
from kryloset.problems.populations import Drawings, Population
from kryloset.processes import in_processes
from kryloset.progress import track
from kryloset.run import files
from kryloset.run.draw_checks import require_reproducible, require_variety

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
        """Return the parameters of some instances by name, but of those that are left out."""


class Drawn:
    """The instances of a dataset, each drawn when it is asked for.

    Args:
        populations: Those of the dataset, or some of them.
        seed: Seed of the dataset.
        order: An open `order.h5`. Then instances are compared with those that were sorted.
        given: The parameters that are not drawn; None if all are.
        failures: What failed before; None if nothing has, and nothing may.
        precision: As of `Drawing`.

    Attributes:
        failures: What has failed so far.
        draw: Draws an instance by the attempt that they say.
    """

    def __init__(
        self,
        populations: Sequence[Population],
        seed: int,
        order: StagedFile | None = None,
        given: Given | None = None,
        failures: Failures | None = None,
        precision: Precision = "float64",
    ) -> None:
        """Draw nothing yet."""
        self.failures = Failures() if failures is None else failures
        self._sorted = dict(self.failures.attempts)
        self._family = populations[0].family
        self._seed = seed
        self.draw = Drawings(populations, given, self.failures.attempts, precision)
        self._given = given
        self._order = order

    def redraw(self, index: int, error: Exception) -> dict[str, Array] | None:
        """Draw another instance for the number of one that could not be solved.

        Args:
            index: The number.
            error: Why it could not.

        Returns:
            Its parameters by name; None if the number is left out.

        Raises:
            DataError: More instances have failed than may.
            Exception: The error itself, if none may.
        """
        self.failures.add(index, "solve", error)
        done = "left out" if index in self.failures.left_out else "drawn again"
        logger.warning("instance %d is %s: %s", index, done, error)
        return next(iter(self.instances([index])), None)

    def instances(self, indices: Sequence[int]) -> list[dict[str, Array]]:
        """Draw some instances, but for those that are left out.

        Raises:
            DataError: As `Drawing`.
            FamilyError: As `Drawing`; or an instance is not the one that was sorted, which is a
                `DataError` where parameters lie in a file.
        """
        return self.digested(indices)[0]

    def _is_sorted(self, index: int) -> bool:
        """Return whether an instance is the one that was sorted, and has not failed since."""
        return self.failures.attempts[index] == self._sorted.get(index, 0)

    def _draw_one(self, index: int) -> dict[str, Array] | None:
        """Draw an instance, if it is not left out. One that was sorted was valid then."""
        if self._order is not None and self._is_sorted(index):
            return self.draw(self._seed, index)
        return draw_valid(self.draw, self._seed, index, self.failures)

    def digested(self, indices: Sequence[int]) -> tuple[list[dict[str, Array]], list[bytes]]:
        """Draw some instances, but for those that are left out.

        Returns:
            The parameters of each instance by name; and of each instance, from `digest_rows`, the
            digests of its parameters.

        Raises:
            DataError: As `instances`.
            FamilyError: As `instances`.
        """
        drawn = {index: self._draw_one(index) for index in indices}
        found = {index: instance for index, instance in drawn.items() if instance is not None}
        precision = self.draw.precision
        rows = [digest_rows(narrow(one.values(), precision)) for one in found.values()]
        if self._order is not None:
            digests = self._order.array(files.DRAWN)
            for index, digested in zip(found, rows, strict=True):
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
        return [*found.values()], rows


def draw_valid(
    draw: Drawings, seed: int, index: int, failures: Failures
) -> dict[str, Array] | None:
    """Draw an instance, by its next attempt as often as it is none of the family.

    Args:
        draw: Draws it by the attempt that `failures` says.
        seed: Seed of the dataset.
        index: Number of the instance.
        failures: Takes what fails.

    Returns:
        Its parameters by name; None if it is left out.

    Raises:
        DataError: It is none, and no more instances may fail.
        FamilyError: As `Drawing`.
    """
    while index not in failures.left_out:
        try:
            return draw(seed, index)
        except DataError as error:
            failures.add(index, "draw", error)
    return None


def draw_first(instances: Instances, numbers: range) -> Instance:
    """Return the first instance that is not left out.

    Raises:
        DataError: All are.
    """
    for number in numbers:
        for instance in instances.instances([number]):
            return instance
    raise DataError(f"all of the {len(numbers)} instances are left out")


def draw_all(
    population: Population,
    seed: int,
    reduce: Reduction,
    workers: int = 1,
    given: Given | None = None,
    known: Sequence[Instance] = (),
    failures: Failures | None = None,
    precision: Precision = "float64",
) -> tuple[NDArray[np.uint8], Array]:
    """Draw all instances of a population a block at a time; keep their digests and features.

    Args:
        population: The instances.
        seed: Seed of the dataset.
        reduce: Makes the features of the instances of a block.
        workers: Most processes that draw at once; fewer if they would have few blocks each.
        given: The parameters that are not drawn; None if all are.
        known: The first instances, if they are known. They are not drawn.
        failures: What failed before, to which is added what fails now; None if nothing may.
        precision: As of `Drawing`.

    Returns:
        The digest of each instance, (n, 32), zeros where one is left out; and the features of
        the others, (others, d).

    Raises:
        DataError: As `draw_instances`; or all instances are left out.
        FamilyError: As `draw_instances`.
    """
    failures = Failures() if failures is None else failures
    drawn = Drawn([population], seed, given=given, failures=failures, precision=precision)
    numbers, count = population.numbers, len(population.numbers)
    # The first instance sets the lengths of axes that the grid does not have, for all processes.
    length = block_length(draw_first(drawn, numbers))
    blocks = [numbers[begin : begin + length] for begin in range(0, count, length)]
    job = _Job(population, seed, drawn.draw, reduce, given, known, failures)
    variety = Variety()
    digests = np.empty((count, DIGEST), np.uint8)
    features: list[Array] = []
    with in_processes(job, min(workers, len(blocks) // LEAST_BLOCKS)) as work:
        found = track(
            work(blocks), "drawing instances", count, amount=lambda block: len(block.digests)
        )
        for some, block in zip(blocks, found, strict=True):
            begin = numbers.index(some[0])
            digests[begin : begin + len(some)] = block.digests
            features += block.features
            variety.update(block.variety)
            failures.update(block.failures)
    require_variety(population.family, seed, variety, given)
    return digests, np.concatenate(features)


@dataclass(frozen=True)
class _Block:
    """What is kept of a block of n instances.

    Attributes:
        digests: Those of the instances, (n, 32), zeros where one is left out.
        features: Those of the others, (others, d); nothing if there are none.
        variety: In what they differ.
        failures: What failed.
    """

    digests: NDArray[np.uint8]
    features: list[Array]
    variety: Variety
    failures: list[Failure]


@dataclass(frozen=True)
class _Job:
    """Draws blocks of instances."""

    population: Population
    seed: int
    draw: Drawings
    reduce: Reduction
    given: Given | None
    known: Sequence[Instance]
    failures: Failures

    def __call__(self, numbers: Sequence[int]) -> _Block:
        """Draw the instances with some numbers."""
        before, variety = len(self.failures), Variety()
        digests = np.zeros((len(numbers), DIGEST), np.uint8)
        instances: dict[int, Instance] = {}
        for row, number in zip(digests, numbers, strict=True):
            instance = self._instance(number)
            if instance is None:
                continue
            digest = digest_instance(narrow(instance.values(), self.draw.precision))
            row[:] = np.frombuffer(digest, np.uint8)
            variety.add(number, instance, digest)
            instances[number] = instance
        last = max(instances, default=-1)
        if last >= len(self.known):
            again = Drawings(
                [self.population.afresh()], self.given, self.failures.attempts, self.draw.precision
            )
            family = self.population.family
            require_reproducible(family, again(self.seed, last), instances[last], last)
        features = [self.reduce([*instances], [*instances.values()])] if instances else []
        return _Block(digests, features, variety, self.failures.since(before))

    def _instance(self, number: int) -> Instance | None:
        """Return an instance that is known, or draw it; None if it is left out."""
        if number < len(self.known) and number not in self.failures.left_out:
            return self.known[number]
        return draw_valid(self.draw, self.seed, number, self.failures)


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
    require_reproducible(family, again(seed, index), instance, index)
    require_variety(family, seed, variety)
