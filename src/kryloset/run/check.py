# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Verify a dataset from its file alone, trusting nothing that made it."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset import provenance
from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.derivation import differences
from kryloset.dataset.guard import in_child
from kryloset.dataset.integrity import damage, read_seals
from kryloset.dataset.layout import grid_group
from kryloset.dataset.reader import Dataset, describable, open_hdf5
from kryloset.dataset.splits import split_indices
from kryloset.dataset.staged import digest_instances
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError, KrylosetError
from kryloset.fem.accuracy import Accuracy, measure
from kryloset.fem.discretise import discretise
from kryloset.krylov.reason import MEANINGS
from kryloset.problems import Discretisation, Family, load_family
from kryloset.problems.checks.coverage import respects
from kryloset.problems.checks.drawing import Drawing
from kryloset.problems.checks.stored import check_stored
from kryloset.problems.checks.variety import Variety, never_varying, varying
from kryloset.progress import track
from kryloset.run.check_solver import check_evidence
from kryloset.run.findings import refuse

logger = logging.getLogger(__name__)

#: Statistics are sums of many numbers, whose rounding depends on the processor; so are
#: values on further grids, and points of a mesh.
_ROUNDING = 1e-12

#: Instances whose errors are measured; of trajectories one.
MEASURED = 3


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        passed: Whether all was right.
        detail: What was found.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """The outcome of all checks.

    Attributes:
        checks: One by one.
        residual_max: Largest true relative residual, recomputed; None if it could not be.
        digests: SHA-256 by path, as the file carries them; none where it is damaged.
        accuracy: What the tolerance means for the error, measured; None where a check failed, or
            it could not be.
    """

    checks: tuple[Check, ...]
    residual_max: float | None
    digests: dict[str, str]
    accuracy: Accuracy | None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def run(dataset: Path, output: Path | None = None) -> CheckReport:
    """Check everything that can be known from the file.

    Args:
        dataset: The dataset's file.
        output: JSON file to write the outcome to, also where a check failed.

    Returns:
        The outcome, every check passed.

    Raises:
        DataError: A check failed, or the file is no dataset; all that failed is named.
    """
    report = examine(dataset)
    if output is not None:
        tree = {"passed": report.passed, **asdict(report)}
        if report.accuracy is not None:
            tree["accuracy"] |= {
                "excessive": report.accuracy.excessive,
                "sentence": report.accuracy.describe(),
            }
        write_text_whole(output, json.dumps(tree, indent=2) + "\n")
    for check in report.checks:
        logger.log(
            logging.INFO if check.passed else logging.ERROR,
            "%s %s: %s", "passed" if check.passed else "FAILED", check.name, check.detail,
        )  # fmt: skip
    if report.accuracy is not None:
        level = logging.WARNING if report.accuracy.excessive else logging.INFO
        logger.log(level, "%s", report.accuracy.describe())
    if not report.passed:
        failed = [f"  {c.name}: {c.detail}" for c in report.checks if not c.passed]
        raise DataError("\n".join([f"{dataset} failed {len(failed)} of its checks:", *failed]))
    return report


def examine(path: Path) -> CheckReport:
    """Run the checks; those of the numbers only where the file is whole and says what it must."""
    whole = _check("integrity", partial(_integrity, path))
    if not whole.passed:
        return CheckReport((whole,), None, {}, None)
    residuals: list[float] = []
    try:
        opened = Dataset(path)
    except KrylosetError as error:
        return CheckReport((whole, Check("description", False, str(error))), None, {}, None)
    with opened as data:
        seals = read_seals(data.file)

        @cache
        def make() -> Discretisation:
            return discretise(_family(data), MPI.COMM_SELF)

        described = _check("description", partial(_description, data, make))
        if not described.passed:
            return CheckReport((whole, described), None, seals, None)
        contents = {
            "finite": partial(_finite, data),
            "not constant": partial(_not_constant, data),
            "no duplicates": partial(_no_duplicates, data),
            "splits": partial(_splits, data),
            "statistics": partial(_statistics, data),
            "parameters": partial(_parameters, data),
            "residuals": partial(_residuals, data, make, residuals),
            "solver": partial(check_evidence, data, residuals),
            "grids": partial(_grids, data, make),
            "mesh": partial(_mesh, data, make),
        }
        found = [_check(name, content) for name, content in contents.items()]
        worst = max(residuals) if residuals and np.isfinite(residuals).all() else None
        right = all(check.passed for check in found)
        accuracy = _accuracy(data, make(), residuals) if right else None
        return CheckReport((whole, described, *found), worst, seals, accuracy)


def _accuracy(
    data: Dataset, discretisation: Discretisation, residuals: Sequence[float]
) -> Accuracy | None:
    """Measure what the tolerance means for the error of the instances of largest residual."""
    count = MEASURED if data.times is None else 1
    chosen = sorted(np.argsort(residuals, kind="stable")[-count:].tolist())
    instances = {index: (data.instance(index), data.solution(index)) for index in chosen}
    return measure(_family(data), discretisation, data.config.solver.tolerance, instances)


def _check(name: str, content: Callable[[], str]) -> Check:
    try:
        return Check(name, True, content())
    except KrylosetError as error:
        return Check(name, False, str(error))


def _integrity(path: Path) -> str:
    """Every array is readable, passes its checksum and has the digest that was sealed."""

    def work() -> str:
        with open_hdf5(path) as file:
            found = damage(file)
            if found:
                raise DataError("; ".join(found))
            return f"{len(read_seals(file))} digests recomputed"

    return in_child(path, work)


def _description(data: Dataset, discretise: Callable[[], Discretisation]) -> str:
    """All but the numbers of the instances is what configuration and family make again."""
    family = _family(data)
    # Before anything is built: a configuration may ask for more than memory holds.
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
    discretisation = discretise()
    try:
        instance, solution = data.instance(0), data.solution(0)
        check_stored(family, solution)
        grids = data.config.mesh.grids
        resampled = {n: discretisation.resample(n, instance, solution) for n in grids}
    except Exception as error:  # Of a family that is given what it would not have made.
        raise DataError(f"instance 0 is none of {data.config.family}: {error}") from error
    meshes, masks = discretisation.meshes(), discretisation.masks()
    with describable(Path(data.file.filename)):
        wrong = differences(data, family, MEANINGS, meshes, masks, resampled)
        made, here = data.version, provenance.versions()["kryloset"]
    other = "" if made == here else f" (made by kryloset {made}, and this is {here})"
    refuse(f"what is not as configuration and family make it{other}", wrong)
    return "groups, attributes, axes, coordinates and boundary values derived again"


def _finite(data: Dataset) -> str:
    """All values are finite, but for those of fields outside of the domain, which are NaN."""
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
    refuse("values that are not finite, or outside of the domain not NaN", wrong)
    return f"all values of {', '.join((*data.parameters, *data.fields, *data.unknowns))}"


def _not_constant(data: Dataset) -> str:
    """No solution is the same everywhere, and no parameter the same in all instances.

    Those that the family says are fixed are the same, indeed, and those may be that its settings
    make so.
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
        family, seed = _family(data), data.config.seed
        # Either it was drawn so, or the file says other than what was drawn.
        unlike = varying(family, seed, len(data)).union(never_varying(family, seed, constant))
        wrong += [f"all instances: {name}" for name in constant if name in unlike]
    refuse("fields that are constant", wrong)
    refuse("parameters that are declared fixed, and vary", sorted(varied & fixed))
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


def _no_duplicates(data: Dataset) -> str:
    duplicates = _variety(data).duplicates
    wrong = [f"instances {first} and {index}" for first, index in duplicates]
    refuse("parameters that are the same", wrong)
    return f"{len(data)} different parameter sets"


def _splits(data: Dataset) -> str:
    """The splits share no instance, leave none out, and are those of the seed."""
    stored = data.splits()
    together = np.sort(np.concatenate(list(stored.values())))
    if not np.array_equal(together, np.arange(len(data))):
        raise DataError("the splits share instances or leave some out")
    for name, indices in split_indices(data.config).items():
        if not np.array_equal(indices, stored[name]):
            raise DataError(f"split {name} is not the one of seed {data.config.seed}")
    sizes = ", ".join(f"{name} {len(indices)}" for name, indices in stored.items())
    return f"{sizes}: disjoint, complete, and those of seed {data.config.seed}"


def _statistics(data: Dataset) -> str:
    """The statistics are those of the training split and of nothing else."""
    names = (*data.parameters, *data.fields)
    moments = {name: Moments() for name in names}
    for index in data.splits()["train"]:
        for name in names:
            with np.errstate(invalid="ignore"):  # values that are not finite are named elsewhere
                moments[name].add(data.within(name, index))
    wrong = []
    for name in names:
        expected, stored = moments[name].summary(), data.statistics(name)
        scale = expected["rms"] * _ROUNDING
        wrong += [
            f"{key} of {name} is {stored.get(key)}, of the training split it is {value}"
            for key, value in expected.items()
            if not abs(stored.get(key, np.nan) - value) <= scale
        ]
    refuse("statistics that are not those of the training split", wrong)
    return f"recomputed from the {len(data.splits()['train'])} instances of train"


def _family(data: Dataset) -> Family:
    """Load the family; one in a user's own file must be the file the dataset was made with.

    So must be the modules beside it that it imports. The text in the dataset is not run: a
    data file of somebody else's would run code of theirs.
    """
    file, colon, _ = data.config.family.rpartition(":")
    if colon and not os.path.isfile(file):
        return load_family(data.config)  # which says so
    # Compared first, for to load it is to run it.
    sources, stored = provenance.family_sources(data.config), data.family_sources()
    for place in dict.fromkeys([*sources, *stored]):
        if sources.get(place) != stored.get(place):
            raise DataError(
                f"{place} of family {data.config.family} is not the text the dataset was made "
                "with, which `kryloset restore` brings back"
            )
    return load_family(data.config)


def _parameters(data: Dataset) -> str:
    """Every instance drawn again from (seed, index) is the stored one, bit for bit."""
    draw = Drawing(_family(data))
    wrong = []
    for index in track(range(len(data)), "drawing again"):
        stored = data.instance(index)
        wrong += [
            f"instance {index}: {name}"
            for name, values in draw(data.config.seed, index).items()
            if values.tobytes() != stored[name].tobytes()
        ]
    refuse("parameters that are not those of the seed", wrong)
    instances = (data.instance(index) for index in range(len(data)))
    if digest_instances("parameters", instances) != data.file["provenance"].attrs["parameters"]:
        raise DataError("the digest of the parameters in /provenance is of others")
    return f"{len(data)} instances drawn again from seed {data.config.seed}, bit for bit"


def _residuals(
    data: Dataset, discretise: Callable[[], Discretisation], residuals: list[float]
) -> str:
    """Every solution solves its equations, assembled afresh; fills `residuals`."""
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


def _grids(data: Dataset, discretise: Callable[[], Discretisation]) -> str:
    """What was stored by evaluating a function is that function, evaluated again."""
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


def _mesh(data: Dataset, discretise: Callable[[], Discretisation]) -> str:
    """The stored mesh and its masks are those that the family makes again."""
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
    """Return the names of arrays that are not the same but for rounding."""

    def same(name: str) -> bool:
        if name not in stored or name not in expected:
            return False
        mine, other = stored[name], np.asarray(expected[name])
        if mine.shape != other.shape:
            return False
        # Outside of the domain both are NaN.
        outside = np.isnan(other)
        scale = float(np.abs(other).max(initial=0.0, where=~outside)) * _ROUNDING
        near = np.abs(mine - other) <= scale
        return bool(np.where(outside, np.isnan(mine), near).all())

    return [name for name in dict.fromkeys([*stored, *expected]) if not same(name)]
