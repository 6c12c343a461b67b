# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that draw, assemble and evaluate again what is stored."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import FLOAT32_ROUNDING, GridPoints, Precision, count_points
from kryloset.dataset.failures import Failure, count_attempts
from kryloset.errors import DataError
from kryloset.problems import Discretisation, Instance
from kryloset.problems.checks.drawing import Given
from kryloset.problems.populations import Drawings, Population
from kryloset.run.checks.failures import Faults, refuse
from kryloset.run.checks.group import Group, on_grid, row_of
from kryloset.run.checks.rounding import allowed, moved
from kryloset.run.discretised import Discretised

#: Error allowed in values on further grids and in points of a mesh, relative to the largest: their
#: rounding depends on the processor.
EVALUATION_ROUNDING = 1e-12


class Parameters:
    """Checks that every instance, drawn again from (seed, index), is the stored one bit for bit."""

    def __init__(
        self,
        populations: Sequence[Population],
        seed: int,
        sorted_: NDArray[np.uint8] | None = None,
        given: Given | None = None,
        failures: Sequence[Failure] = (),
        precision: Precision = "float64",
    ) -> None:
        """Begin without instances.

        Args:
            populations: Those of the dataset.
            seed: Seed of the dataset.
            sorted_: The digests of all instances that were sorted, (count, 32), if they are known.
            given: The parameters that were not drawn.
            failures: What failed before the instances were drawn that are stored.
            precision: As of `Drawing`.
        """
        self._draw = Drawings(populations, given, count_attempts(failures), precision)
        family = populations[0].family
        self._seed = seed
        self._sorted = sorted_
        self._count = 0
        self._given = given
        self._drawn = [v.name for v in family.parameters if not given or v.name not in given.names]
        self._faults = Faults(
            f"parameters that are not those of the seed{' and the file' if given else ''}"
        )

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            DataError: An instance cannot be drawn.
        """
        for (number, stored, _), digest in zip(group, group.digests, strict=True):
            drawn = self._draw(self._seed, number)
            wrong = [name for name in drawn if drawn[name].tobytes() != stored[name].tobytes()]
            if self._sorted is not None and self._sorted[number].tobytes() != digest:
                wrong.append("the digest of the instance that was sorted")
            self._faults.add((number, name) for name in wrong)
        self._count += len(group)

    def finish(self) -> str:
        """Return what was found."""
        self._faults.refuse()
        again = f"drawn again from seed {self._seed}, bit for bit"
        if self._given is None:
            return f"{self._count} instances {again}"
        told = f"{self._count} instances: {', '.join(sorted(self._given.names))} {self._given.told}"
        return f"{told}; {', '.join(self._drawn)} {again}" if self._drawn else told


class SameParameters(Parameters):
    """Checks also the digest of all parameters of a dataset."""

    def __init__(
        self,
        populations: Sequence[Population],
        seed: int,
        digest: str,
        given: Given | None = None,
        failures: Sequence[Failure] = (),
        precision: Precision = "float64",
    ) -> None:
        """Begin without instances.

        Args:
            populations: Those of the dataset.
            seed: Seed of the dataset.
            digest: The stored digest of the digests of all instances.
            given: The parameters that were not drawn.
            failures: As of `Parameters`.
            precision: As of `Parameters`.
        """
        super().__init__(populations, seed, given=given, failures=failures, precision=precision)
        self._stored = digest
        self._digest = sha256()

    def add(self, group: Group) -> None:
        """See the next instances."""
        super().add(group)
        for digest in group.digests:
            self._digest.update(digest)

    def finish(self) -> str:
        """Return what was found."""
        found = super().finish()
        if self._digest.hexdigest() != self._stored:
            raise DataError("the digest in /provenance is that of other parameters")
        return found


class Residuals:
    """Checks that every solution solves its equations, assembled anew.

    One that is rounded must solve them but for the rounding.

    Attributes:
        found: The true relative residual of each instance, in the order in which they were seen.
    """

    def __init__(
        self, discretised: Discretised, tolerance: float, rounded: Collection[str] = ()
    ) -> None:
        """Begin without instances.

        Args:
            discretised: The discretisation of the family, with the settings of an instance.
            tolerance: Tolerance of the solver.
            rounded: Names of the arrays that are rounded to float32.
        """
        self.found: list[float] = []
        self._discretised = discretised
        self._tolerance = tolerance
        self._rounded = rounded
        more = " and what rounding to float32 adds" if rounded else ""
        self._faults = Faults(f"true relative residuals above the tolerance {tolerance:.3g}{more}")

    @property
    def worst(self) -> float | None:
        """The largest residual; None if one is not finite, or could not be computed."""
        return max(self.found) if self.found and np.isfinite(self.found).all() else None

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            DataError: The parameters do not describe an instance of the problem.
        """
        # Instances of different populations may have different settings.
        for discretisation, members in groupby(group, lambda one: self._discretised(one[0])):
            solved = [*members]
            residuals = discretisation.residuals(
                [(instance, solution) for _, instance, solution in solved]
            )
            self.found += residuals
            for residual, one in zip(residuals, solved, strict=True):
                if not residual <= self._tolerance + self._rounding(*one):
                    self._faults.add([(one[0], f"{residual:.3g}")])

    def _rounding(self, number: int, instance: Instance, solution: Instance) -> float:
        """Return what rounding may add to a residual."""
        if not self._rounded:
            return 0.0
        far = moved(solution, self._rounded, number)
        return allowed(self._discretised(number).residual(instance, far))

    def finish(self) -> str:
        """Return what was found."""
        self._faults.refuse()
        if not self.found:
            return "no instance was solved"
        rounded = ", and no more than rounding to float32 adds" if self._rounded else ""
        return (
            f"at most {max(self.found):.3g} in {len(self.found)} instances, "
            f"tolerance {self._tolerance:.3g}{rounded}"
        )


class Grids:
    """Checks that evaluating the solutions again gives the stored values on all grids."""

    def __init__(self, discretised: Discretised, rounded: Collection[str] = ()) -> None:
        """Begin without instances; `rounded` are the names of arrays in float32."""
        self._discretised = discretised
        self._rounded = rounded
        self._seen: tuple[GridPoints, ...] = ()
        self._faults = Faults("values on grids that are not those of the functions")

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            DataError: A solution cannot be evaluated.
        """
        self._seen = tuple(group.resampled)
        for place, (number, instance, solution) in enumerate(group):
            discretisation = self._discretised(number)
            again = discretisation.evaluate(instance, solution)
            own = {name: solution[name] for name in again if name in solution}
            other = moved(solution, self._rounded, number) if self._rounded else {}
            far = discretisation.evaluate(instance, other) if other else {}
            self._faults.add((number, name) for name in _differing(own, again, far))
            for points, arrays in group.resampled.items():
                expected = discretisation.resample(points, instance, solution)
                far = discretisation.resample(points, instance, other) if other else {}
                self._faults.add(
                    (number, on_grid(points, name))
                    for name in _differing(row_of(arrays, place), expected, far)
                )

    def finish(self) -> str:
        """Return what was found."""
        self._faults.refuse()
        told = "".join(f", that of {count_points(points)}" for points in self._seen)
        return f"the grid{told}: evaluated again"


def check_mesh(
    discretisation: Discretisation,
    meshes: Mapping[str, NDArray[Any]],
    masks: Mapping[GridPoints | None, NDArray[Any]],
    *,
    own_masks: bool,
) -> str:
    """Check that the stored mesh and masks are those that the family makes.

    Args:
        discretisation: The discretisation of the family.
        meshes: The stored mesh that all instances share.
        masks: The stored masks that all instances share, by grid.
        own_masks: Whether each instance has masks of its own.
    """
    expected = discretisation.masks()
    wrong = _differing(meshes, discretisation.meshes())
    if not own_masks:
        wrong += [
            "the mask of the grid" + (f" of {count_points(points)}" if points else "")
            for points in dict.fromkeys([*masks, *expected])
            if not _same_mask(masks.get(points), expected.get(points))
        ]
    refuse("parts of the mesh that are not those made again", wrong)
    names = [*meshes, *(["its masks"] if expected else [])]
    return f"{', '.join(names)}: made again" if names else "no mesh is shared by all instances"


def _same_mask(stored: NDArray[Any] | None, expected: NDArray[np.int8] | None) -> bool:
    if stored is None or expected is None:
        return (stored is None) == (expected is None)
    return np.array_equal(stored, expected)


def _differing(
    stored: Mapping[str, NDArray[Any]],
    expected: Mapping[str, NDArray[Any]],
    far: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> list[str]:
    """Return the names of the arrays that differ by more than rounding.

    Args:
        stored: The stored arrays.
        expected: What they should be.
        far: If they are rounded to float32, what is expected of the solution `moved`.
    """

    def same(name: str) -> bool:
        if name not in stored or name not in expected:
            return False
        mine, other = stored[name], np.asarray(expected[name])
        if mine.shape != other.shape:
            return False
        # Both are NaN outside the domain.
        outside = np.isnan(other)
        scale = float(np.abs(other).max(initial=0.0, where=~outside)) * EVALUATION_ROUNDING
        if name in far:
            apart = np.abs(np.asarray(far[name]) - other)
            scale += allowed(float(apart.max(initial=0.0, where=~outside)))
            scale += FLOAT32_ROUNDING * float(np.abs(other).max(initial=0.0, where=~outside))
        near = np.abs(mine - other) <= scale
        return bool(np.where(outside, np.isnan(mine), near).all())

    return [name for name in dict.fromkeys([*stored, *expected]) if not same(name)]
