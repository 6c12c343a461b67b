# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Verify a dataset from its file alone, without trusting the stages that made it."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from mpi4py import MPI

import numpy as np

from kryloset.dataset.derivation import differences
from kryloset.dataset.guard import in_child
from kryloset.dataset.integrity import damage, read_seals
from kryloset.dataset.layout import grid_group
from kryloset.dataset.opening import describable, open_hdf5
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, KrylosetError
from kryloset.fem.accuracy import Accuracy, measure, measured
from kryloset.fem.discretise import discretise
from kryloset.krylov.reason import MEANINGS
from kryloset.problems import Discretisation, Family
from kryloset.problems.checks.stored import check_stored
from kryloset.progress import track
from kryloset.run.checks.contents import (
    Finite,
    NoDuplicates,
    SameStatistics,
    Varying,
    check_splits,
)
from kryloset.run.checks.failures import refuse
from kryloset.run.checks.family import load_same_family
from kryloset.run.checks.given import find_given
from kryloset.run.checks.group import read_dataset
from kryloset.run.checks.outcome import (
    Check,
    CheckReport,
    Content,
    Failed,
    attempt,
    examine_groups,
    require_passed,
)
from kryloset.run.checks.recomputed import Grids, Residuals, SameParameters, check_mesh
from kryloset.run.checks.solver_records import check_all_records
from kryloset.version import __version__


def run(dataset: Path, output: Path | None = None) -> CheckReport:
    """Check everything that can be known from the file alone.

    Args:
        dataset: The dataset's file.
        output: JSON file to write the outcome to, also if a check failed.

    Returns:
        The outcome; every check passed.

    Raises:
        DataError: Checks failed, and the message names them all; or the file is not a dataset.
    """
    report = examine(dataset)
    if output is not None:
        report.write(output)
    if report.accuracy is not None:
        report.accuracy.log()
    require_passed(dataset, report.checks)
    return report


def examine(path: Path) -> CheckReport:
    """Run the checks; those of the numbers only if the file is intact and its description right."""
    whole = attempt("integrity", partial(_integrity, path))
    if not whole.passed:
        return CheckReport((whole,), None, {}, None)
    try:
        opened = Dataset(path)
    except KrylosetError as error:
        return CheckReport((whole, Check("description", False, str(error))), None, {}, None)
    with opened as data:
        seals = read_seals(data.file)

        @cache
        def make() -> tuple[Family, Discretisation]:
            family = load_same_family(data)
            return family, discretise(family, MPI.COMM_SELF)

        described = attempt("description", partial(_description, data, make))
        if not described.passed:
            return CheckReport((whole, described), None, seals, None)
        family, discretisation = make()
        found, residuals = _contents(data, family, discretisation)
        right = all(check.passed for check in found)
        accuracy = _accuracy(data, family, discretisation, residuals.found) if right else None
        return CheckReport((whole, described, *found), residuals.worst, seals, accuracy)


def _contents(
    data: Dataset, family: Family, discretisation: Discretisation
) -> tuple[list[Check], Residuals]:
    """Check the numbers of all instances in one pass, and what concerns them all."""
    config = data.config
    stored = {v.name: data.statistics(v.name) for v in (*family.parameters, *family.fields)}
    duplicates = NoDuplicates()
    residuals = Residuals(discretisation, config.solver.tolerance)
    passed = examine_groups(
        track(read_dataset(data, family), "checking instances", len(data), amount=len),
        {
            "finite": Finite(family),
            "not constant": Varying(
                family, config.seed, duplicates.variety, config.instances.names
            ),
            "no duplicates": duplicates,
            "statistics": SameStatistics(family, config, stored),
            "parameters": _parameters(data, family),
            "residuals": residuals,
            "grids": Grids(discretisation),
        },
    )
    *numbers, statistics, parameters, solved, grids = passed
    splits = attempt("splits", lambda: check_splits(config, data.splits()))
    solver = attempt("solver", lambda: _solver(data, residuals.found))
    mesh = attempt("mesh", lambda: _mesh(data, discretisation))
    return [*numbers, splits, statistics, parameters, solved, solver, grids, mesh], residuals


def _parameters(data: Dataset, family: Family) -> Content:
    try:
        given = find_given(data, family)
    except KrylosetError as error:
        return Failed(error)
    return SameParameters(family, data.config.seed, data.provenance().parameters, given)


def _solver(data: Dataset, residuals: Sequence[float]) -> str:
    tolerance = data.config.solver.tolerance
    return check_all_records(data.solver(), residuals, tolerance, len(data.strategies()))


def _mesh(data: Dataset, discretisation: Discretisation) -> str:
    grids = (None, *data.config.mesh.grids)
    own = data.masked == "own"
    masks = {} if own else {points: data.inside(0, points) for points in grids}
    there = {points: mask for points, mask in masks.items() if mask is not None}
    return check_mesh(discretisation, data.meshes(), there, own_masks=own)


def _accuracy(
    data: Dataset, family: Family, discretisation: Discretisation, residuals: Sequence[float]
) -> Accuracy | None:
    """Measure what the tolerance means for the error where residuals are largest."""
    largest = np.argsort(residuals, kind="stable")[-measured(family) :]
    chosen = sorted(largest.tolist())
    instances = {index: (data.instance(index), data.solution(index)) for index in chosen}
    return measure(family, discretisation, data.config.solver.tolerance, instances)


def _integrity(path: Path) -> str:
    """Check that every array is readable, passes its checksum and has its sealed digest."""

    def work() -> str:
        with open_hdf5(path) as file:
            found = damage(file)
            if found:
                raise DataError("; ".join(found))
            return f"{len(read_seals(file))} digests recomputed"

    return in_child(path, work)


def _description(data: Dataset, make: Callable[[], tuple[Family, Discretisation]]) -> str:
    """Check that configuration and family reproduce everything except the instances' numbers."""
    family = load_same_family(data)
    # Checked before anything is built: a configuration may ask for more than memory holds.
    grid = tuple(len(axis) for axis in family.coordinates.values())
    with describable(Path(data.file.filename)):
        count, stored = len(data), data.grid
    if stored != grid or count != data.config.count:
        raise DataError(
            f"it has {count} instances on a grid of {stored} points, and its configuration "
            f"makes {data.config.count} on {grid}"
        )
    for points in data.config.mesh.grids:
        if grid_group(points) not in data.file:
            raise DataError(f"/{grid_group(points)} is missing")
    _, discretisation = make()
    try:
        instance, solution = data.instance(0), data.solution(0)
        check_stored(family, solution)
        grids = data.config.mesh.grids
        resampled = {n: discretisation.resample(n, instance, solution) for n in grids}
    except (
        Exception
    ) as error:  # A family may raise any exception for an instance that it would not draw.
        raise DataError(f"instance 0 is not one of {data.config.family}: {error}") from error
    meshes, masks = discretisation.meshes(), discretisation.masks()
    with describable(Path(data.file.filename)):
        wrong = differences(data, family, MEANINGS, meshes, masks, resampled)
        made, here = data.version, __version__
    other = "" if made == here else f" (made by kryloset {made}, and this is {here})"
    refuse(f"what differs from that of configuration and family{other}", wrong)
    return "groups, attributes, axes, coordinates and boundary values derived again"
