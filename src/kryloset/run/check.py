# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Verify a dataset from its file alone, without trusting the stages that made it."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np

from kryloset.dataset.integrity import damage, read_seals
from kryloset.dataset.opening import read_whole
from kryloset.dataset.origin import count_kept
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, KrylosetError
from kryloset.fem.accuracy import Accuracy, measure, measured
from kryloset.fem.discretise import discretise
from kryloset.problems import Discretisation, Family
from kryloset.problems.populations import Population, load_populations
from kryloset.progress import track
from kryloset.run.checks.contents import (
    Finite,
    NoDuplicates,
    SameStatistics,
    Varying,
    check_splits,
)
from kryloset.run.checks.description import check_description
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
from kryloset.run.checks.redrawn import check_redrawn
from kryloset.run.checks.refined import Refined
from kryloset.run.checks.rounding import find_rounded
from kryloset.run.checks.solver_records import check_all_records
from kryloset.run.discretised import discretise_each

#: The checks of the numbers, as they are told.
_ORDER = (
    "finite", "not constant", "no duplicates", "splits", "statistics", "parameters", "residuals",
    "solver", "grids", "mesh", "refinement", "failures",
)  # fmt: skip


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
    whole = attempt("integrity", partial(read_whole, path, _integrity))
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

        described = attempt("description", partial(check_description, data, make))
        if not described.passed:
            return CheckReport((whole, described), None, seals, None)
        family, discretisation = make()
        try:
            populations = load_populations(data.config)
        except KrylosetError as error:
            wrong = Check("description", False, str(error))
            return CheckReport((whole, wrong), None, seals, None)
        found, residuals = _contents(data, populations, discretisation)
        right = all(check.passed for check in found)
        accuracy = _accuracy(data, family, discretisation, residuals.found) if right else None
        failures = data.provenance().failures
        return CheckReport((whole, described, *found), residuals.worst, seals, accuracy, failures)


def _contents(
    data: Dataset, populations: Sequence[Population], discretisation: Discretisation
) -> tuple[list[Check], Residuals]:
    """Check the numbers of all instances in one pass, and what concerns them all."""
    config, family = data.config, populations[0].family
    discretised = discretise_each(populations, discretisation)
    stored = {v.name: data.statistics(v.name) for v in (*family.parameters, *family.fields)}
    duplicates = NoDuplicates()
    rounded = find_rounded(config, family)
    residuals = Residuals(discretised, config.solver.tolerance, rounded)
    solved = config.refined
    distances = {
        name: dict(zip(data.numbers.tolist(), values.tolist(), strict=False))
        for name, values in data.refinement().items()
    }
    refined = Refined(family, config.solver.tolerance, solved, distances)
    passed = examine_groups(
        track(read_dataset(data, family), "checking instances", len(data), amount=len),
        {
            "finite": Finite(family),
            "not constant": Varying(
                family, config.seed, duplicates.variety, config.instances.names
            ),
            "no duplicates": duplicates,
            "statistics": SameStatistics(family, config, stored),
            "parameters": _parameters(data, populations),
            "residuals": residuals,
            "grids": Grids(discretised, rounded),
            **({"refinement": refined} if solved else {}),
        },
    )
    splits = attempt("splits", lambda: check_splits(config, data.splits(), data.numbers))
    solver = attempt("solver", lambda: _solver(data, residuals.found))
    mesh = attempt("mesh", lambda: _mesh(data, discretisation))
    passed += [splits, solver, mesh]
    failures = data.provenance().failures
    if failures:
        passed.append(
            attempt(
                "failures",
                lambda: check_redrawn(populations, config.seed, failures, find_given(data, family)),
            )
        )
    by_name = {check.name: check for check in passed}
    return [by_name[name] for name in _ORDER if name in by_name], residuals


def _parameters(data: Dataset, populations: Sequence[Population]) -> Content:
    try:
        given = find_given(data, populations[0].family)
    except KrylosetError as error:
        return Failed(error)
    stored, config = data.provenance(), data.config
    return SameParameters(
        populations, config.seed, stored.parameters, given, stored.failures,
        config.storage.precision,
    )  # fmt: skip


def _solver(data: Dataset, residuals: Sequence[float]) -> str:
    tolerance, kept = data.config.solver.tolerance, count_kept(data.provenance().earlier)
    strategies = len(data.strategies())
    return check_all_records(data.solver(), data.numbers, residuals, tolerance, strategies, kept)


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
    own = int((data.numbers < data.config.count).sum())
    largest = np.argsort(residuals[:own], kind="stable")[-measured(family) :]
    instances = {
        int(data.numbers[row]): (data.instance(row), data.solution(row))
        for row in sorted(largest.tolist())
    }
    return measure(family, discretisation, data.config.solver.tolerance, instances)


def _integrity(file: h5py.File) -> str:
    """Check that every array is readable, passes its checksum and has its sealed digest."""
    found = damage(file)
    if found:
        raise DataError("; ".join(found))
    return f"{len(read_seals(file))} digests recomputed"
