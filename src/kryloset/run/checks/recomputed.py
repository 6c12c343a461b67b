# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that draw, assemble and evaluate again what is stored."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.integrity import digest_instance
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems import Discretisation
from kryloset.problems.checks.drawing import Drawing
from kryloset.progress import track
from kryloset.run.checks.failures import refuse
from kryloset.run.checks.family import load_same_family

#: Error allowed in values on further grids and in points of a mesh, relative to the largest: their
#: rounding depends on the processor.
EVALUATION_ROUNDING = 1e-12


def check_parameters(data: Dataset) -> str:
    """Check that every instance, drawn again from (seed, index), is the stored one bit for bit."""
    draw = Drawing(load_same_family(data))
    wrong = []
    for index in track(range(len(data)), "drawing again"):
        stored = data.instance(index)
        wrong += [
            f"instance {index}: {name}"
            for name, values in draw(data.config.seed, index).items()
            if values.tobytes() != stored[name].tobytes()
        ]
    refuse("parameters that are not those of the seed", wrong)
    digest = sha256()
    for index in range(len(data)):
        digest.update(digest_instance(data.instance(index).values()))
    if digest.hexdigest() != data.provenance().parameters:
        raise DataError("the digest in /provenance is that of other parameters")
    return f"{len(data)} instances drawn again from seed {data.config.seed}, bit for bit"


def check_residuals(
    data: Dataset, discretise: Callable[[], Discretisation], residuals: list[float]
) -> str:
    """Check that every solution solves its equations, assembled anew; fills `residuals`."""
    discretisation = discretise()
    tolerance = data.config.solver.tolerance
    for index in track(range(len(data)), "recomputing residuals"):
        residuals.append(discretisation.residual(data.instance(index), data.solution(index)))
    wrong = [
        f"instance {index}: {residual:.3g}"
        for index, residual in enumerate(residuals)
        if not residual <= tolerance
    ]
    refuse(f"true relative residuals above the tolerance {tolerance:.3g}", wrong)
    return f"at most {max(residuals):.3g} in {len(data)} instances, tolerance {tolerance:.3g}"


def check_grids(data: Dataset, discretise: Callable[[], Discretisation]) -> str:
    """Check that evaluating the solutions again gives the stored values on all grids."""
    grids = data.config.mesh.grids
    discretisation = discretise()
    wrong = []
    for index in track(range(len(data)), "evaluating again"):
        instance, solution = data.instance(index), data.solution(index)
        again = discretisation.evaluate(instance, solution)
        own = {name: solution[name] for name in again if name in solution}
        wrong += [f"instance {index}: {name}" for name in _differing(own, again)]
        for points in grids:
            expected = discretisation.resample(points, instance, solution)
            wrong += [
                f"instance {index}: {name} on the grid of {points} points"
                for name in _differing(data.resampled(points, index), expected)
            ]
    refuse("values on grids that are not those of the functions", wrong)
    told = "".join(f", that of {points} points a side" for points in grids)
    return f"the grid{told}: evaluated again"


def check_mesh(data: Dataset, discretise: Callable[[], Discretisation]) -> str:
    """Check that the stored mesh and masks are those that the family makes."""
    stored, expected = data.meshes(), discretise().masks()
    wrong = _differing(stored, discretise().meshes())
    if data.masked != "own":
        wrong += [
            "the mask of the grid" + (f" of {points} points a side" if points else "")
            for points in (None, *data.config.mesh.grids)
            if not _same_mask(data.inside(0, points), expected.get(points))
        ]
    refuse("parts of the mesh that are not those made again", wrong)
    names = [*stored, *(["its masks"] if expected else [])]
    return f"{', '.join(names)}: made again" if names else "no mesh is shared by all instances"


def _same_mask(stored: NDArray[np.bool_] | None, expected: NDArray[np.int8] | None) -> bool:
    if stored is None or expected is None:
        return (stored is None) == (expected is None)
    return np.array_equal(stored, expected)


def _differing(
    stored: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Return the names of the arrays that differ by more than rounding."""

    def same(name: str) -> bool:
        if name not in stored or name not in expected:
            return False
        mine, other = stored[name], np.asarray(expected[name])
        if mine.shape != other.shape:
            return False
        # Both are NaN outside the domain.
        outside = np.isnan(other)
        scale = float(np.abs(other).max(initial=0.0, where=~outside)) * EVALUATION_ROUNDING
        near = np.abs(mine - other) <= scale
        return bool(np.where(outside, np.isnan(mine), near).all())

    return [name for name in dict.fromkeys([*stored, *expected]) if not same(name)]
