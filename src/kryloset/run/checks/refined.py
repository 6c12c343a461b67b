# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The estimate of the discretisation error of some instances, and its check."""

from collections.abc import Mapping

from kryloset.errors import DataError, KrylosetError
from kryloset.fem.refinement import Refinement
from kryloset.problems import Family
from kryloset.run.checks.failures import Faults
from kryloset.run.checks.group import Group

#: Digits that are kept of an estimate: those of the solver's tolerance would only seem to be known.
_DIGITS = 3
#: How far a stored estimate may be from the recomputed one, relative to it or to the tolerance.
_ROUNDING = 0.1


class Refined:
    """Solves the first instances, as drawn, on a refined mesh.

    Attributes:
        found: By number of the instance, the distance of each field, as `Refinement.estimate`
            returns it, to three digits.
    """

    def __init__(
        self,
        family: Family,
        tolerance: float,
        count: int,
        stored: Mapping[str, Mapping[int, float]] | None = None,
    ) -> None:
        """Begin without instances.

        Args:
            family: The family.
            tolerance: Tolerance to which instances were solved.
            count: How many instances, counted from the first as drawn.
            stored: By field and number of an instance, the distances in a dataset, which are
                compared with those found.
        """
        self.found: dict[int, dict[str, float]] = {}
        self._family = family
        self._tolerance = tolerance
        self._count = count
        self._stored = stored
        self._refinement: Refinement | None = None
        self._faults = Faults("distances to the refined solution that are not those recomputed")

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            KrylosetError: One cannot be solved on the refined mesh.
        """
        for number, instance, solution in group:
            if number >= self._count:
                continue
            # Not made for a chunk that has none of these instances.
            if self._refinement is None:
                self._refinement = Refinement(self._family, self._tolerance)
            try:
                errors = self._refinement.estimate(instance, solution)
            except KrylosetError as error:
                raise DataError(
                    f"instance {number} cannot be solved on a refined mesh: {error}"
                ) from error
            self.found[number] = {name: _shorten(error) for name, error in errors.items()}
            if self._stored is not None:
                self._compare(number, self._stored)

    def _compare(self, number: int, stored: Mapping[str, Mapping[int, float]]) -> None:
        for name, error in self.found[number].items():
            told = stored[name][number]
            if not abs(told - error) <= _ROUNDING * (told + error) + self._tolerance:
                self._faults.add([(number, f"{name} {told:.3g}, recomputed {error:.3g}")])

    def finish(self) -> str:
        """Return what was found."""
        self._faults.refuse()
        largest = {
            name: max(errors[name] for errors in self.found.values())
            for name in next(iter(self.found.values()), {})
        }
        told = ", ".join(f"{name} {error:.2g}" for name, error in largest.items())
        where = f": distances of at most {told}" if told else ""
        return f"{len(self.found)} instances solved on a refined mesh{where}"


def _shorten(error: float) -> float:
    return float(f"{error:.{_DIGITS - 1}e}")
