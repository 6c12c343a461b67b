# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compare two datasets: how they were made, and, instance by instance, what they hold.

Instances are paired by the digests of their parameters, and the others by their numbers. Arrays are
read a few rows at a time, so that memory does not grow with the files. Digests do not stand for
numbers here: an array that was damaged since is told as different.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.integrity import digest_instance, read_seals
from kryloset.dataset.layout import SAMPLE_VARYING, grid_group, narrow, recorded
from kryloset.dataset.opening import describable, require_rows
from kryloset.dataset.ragged import offsets_path
from kryloset.dataset.reader import Dataset
from kryloset.problems.checks.coverage import INSIDE

#: Bytes of rows of an array that are read at a time, or one row.
_PART = 2**22
#: Relative difference of coordinates and meshes that is rounding.
_ROUNDING = 1e-12
#: Groups of arrays that are compared in other ways, or that number the rows of other arrays.
_ELSEWHERE = ("provenance", "splits", "solver", "parameters", "unknowns", "sample")
#: Lines that a part of the description has at most.
_LINES = 20


@dataclass(frozen=True)
class Pairs:
    """Which instances of two datasets belong together.

    Attributes:
        first: Rows of the paired instances in the first dataset, ascending.
        second: Their rows in the second.
        same: Whether the parameters of each pair have the same digests.
        moved: How many have another number in the second.
        counts: Numbers of instances of both.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    moved: int
    counts: tuple[int, int]

    @property
    def complete(self) -> bool:
        """Whether every instance of both has a partner."""
        return self.counts == (len(self.first),) * 2

    def blocks(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """Yield runs of neighbours in both: first row in each, and how many, at most `rows`."""
        if not len(self.first):
            return
        breaks = (np.diff(self.first) != 1) | (np.diff(self.second) != 1)
        ends = [*(np.flatnonzero(breaks) + 1).tolist(), len(self.first)]
        begin = 0
        for end in ends:
            for place in range(begin, end, rows):
                yield int(self.first[place]), int(self.second[place]), min(rows, end - place)
            begin = end


@dataclass(frozen=True)
class Difference:
    """In what two datasets differ.

    Attributes:
        first: One file.
        second: The other.
        tolerance: Relative distance up to which numbers are equal.
        making: By title, lines on how they were made, which do not decide whether they are equal.
        data: By title, lines on the data.
        equal: Whether the data are equal within the tolerance.
    """

    first: Path
    second: Path
    tolerance: float
    making: Mapping[str, Sequence[str]]
    data: Mapping[str, Sequence[str]]
    equal: bool

    def describe(self) -> str:
        """Return the differences as text for people; the last line is the verdict."""
        parts = [f"{self.first} and {self.second}"]
        for title, lines in {**self.making, **self.data}.items():
            if lines:
                more = [f"... and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
                parts.append("\n  ".join([f"{title}:", *lines[:_LINES], *more]))
        verdict = "The data are equal" if self.equal else "The data differ by more than what is"
        parts.append(f"{verdict} within {self.tolerance:.0e}.")
        return "\n".join(parts)


def compare(first: Path, second: Path, tolerance: float | None = None) -> Difference:
    """Compare two datasets.

    Args:
        first: One file.
        second: The other.
        tolerance: Relative L2 distance of an instance's rows, and of statistics, up to which they
            are equal; by default what the tolerance of the looser solver allows.

    Raises:
        DataError: A file is missing, damaged or not a dataset.
    """
    with Dataset(first) as a, Dataset(second) as b:
        for one in (a, b):
            _require_rows(one)
        if tolerance is None:
            tolerance = max(one.config.allowed_error for one in (a, b))
        pairs = _pair(_digests(a), _digests(b), (a.numbers, b.numbers))
        making = {
            "Configuration": _mappings(_configuration(a), _configuration(b)),
            "Made by": _mappings(_programs(a), _programs(b)),
            "Solve records": _records(a, b, pairs),
        }
        arrays, apart = _arrays(a, b, pairs)
        statistics, worst = _statistics(a, b)
        splits, others = _splits(a, b, pairs), _others(a, b)
        data = {
            "Instances": _instances(pairs),
            "Arrays of instances": arrays,
            "Splits": splits,
            "Statistics": statistics,
            "Other arrays": others,
        }
        equal = pairs.complete and not splits and not others and max(apart, worst) <= tolerance
    return Difference(first, second, tolerance, making, data, equal)


def _require_rows(data: Dataset) -> None:
    """Refuse a file whose arrays do not have a row for each instance."""
    with describable(data.path):
        paths = [data.array(name).name for name in _names(data)]
        offsets = [offsets_path(path) for path in paths if offsets_path(path) in data.file]
        rows = [path for path in paths if offsets_path(path) not in data.file]
    every = [*rows, *(f"solver/{name}" for name in recorded(data.config.storage))]
    require_rows(data.path, data.file, ["sample", *every], len(data))
    require_rows(data.path, data.file, offsets, len(data) + 1)


def _mappings(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return a line for each key whose values differ."""
    return [
        f"{key}: {first.get(key, 'none')}, {second.get(key, 'none')}"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]


def _configuration(data: Dataset) -> dict[str, str]:
    """Return all keys of the configuration by their full names, and the name of the dataset."""

    def flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", str(value)

    return {"name": data.name, **dict(flatten(data.config.model_dump(mode="json"), ""))}


def _programs(data: Dataset) -> dict[str, str]:
    """Return versions of programs, identities of code, and whether a family's texts differ."""
    told = data.provenance()
    texts = {
        f"text of {place}": f"{len(text)} bytes" for place, text in data.family_sources().items()
    }
    code = {f"code of {stage}": identity for stage, identity in told.code.items()}
    return {**told.versions, **code, **texts}


def _digests(data: Dataset) -> NDArray[np.void]:
    """Return the digest of each instance's parameters, as one value."""
    found = b"".join(
        digest_instance(narrow(rows, data.config.storage.precision))
        for begin, end in _parts(data, data.parameters)
        for rows in zip(*(data.rows(n, begin, end) for n in data.parameters), strict=True)
    )
    return np.frombuffer(found, np.dtype("V32"))


def _parts(data: Dataset, names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges of instances of which some arrays fit in memory together."""
    step = min(_rows_in_part(data, name) for name in names)
    count = len(data)
    for begin in range(0, count, step):
        yield begin, min(begin + step, count)


def _rows_in_part(data: Dataset, name: str) -> int:
    """Return how many instances of an array are read at a time."""
    array = data.array(name)
    if offsets_path(array.name) in data.file:
        return 1
    return max(1, _PART // max(1, int(array.dtype.itemsize * np.prod(array.shape[1:]))))


def _pair(
    first: NDArray[np.void],
    second: NDArray[np.void],
    numbers: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Pairs:
    """Pair instances with the same digests, and then others with the same numbers."""
    places = {digest.tobytes(): row for row, digest in enumerate(second)}
    partner = np.full(len(first), -1)
    for row, digest in enumerate(first):
        partner[row] = places.get(digest.tobytes(), -1)
    same = partner >= 0
    taken = set(partner[same].tolist())
    rows = {number: row for row, number in enumerate(numbers[1].tolist())}
    for row in np.flatnonzero(~same).tolist():
        other = rows.get(int(numbers[0][row]), -1)
        if other not in taken:
            partner[row] = other
    paired = np.flatnonzero(partner >= 0)
    moved = int((numbers[0][paired] != numbers[1][partner[paired]]).sum())
    return Pairs(paired, partner[paired], same[paired], moved, (len(first), len(second)))


def _instances(pairs: Pairs) -> list[str]:
    """Return lines on the instances that are not the same ones in the same places."""
    lines = []
    if not pairs.complete:
        lines.append(
            f"{pairs.counts[0]} and {pairs.counts[1]}, of which {len(pairs.first)} pair up"
        )
    others = int((~pairs.same).sum())
    if others:
        lines.append(f"{others} with the same number have other parameters")
    if pairs.moved:
        lines.append(f"{pairs.moved} with the same parameters have other numbers")
    return lines


def _arrays(a: Dataset, b: Dataset, pairs: Pairs) -> tuple[list[str], float]:
    """Compare the arrays with a row for each instance.

    Returns:
        A line for each that differs, and the largest relative distance of a row.
    """
    lines, largest = [], 0.0
    there = [_names(data) for data in (a, b)]
    for name in dict.fromkeys([*there[0], *there[1]]):
        if name not in there[0] or name not in there[1]:
            lines.append(f"{name}: only in {'the second' if name in there[1] else 'the first'}")
            largest = np.inf
            continue
        count, worst, where = 0, 0.0, 0
        for i, j, rows in pairs.blocks(min(_rows_in_part(data, name) for data in (a, b))):
            one, other = a.rows(name, i, i + rows), b.rows(name, j, j + rows)
            if one.tobytes() == other.tobytes() and one.shape == other.shape:
                continue
            for row in range(rows):
                apart = distance(one[row], other[row])
                count += apart > 0
                if apart > worst:
                    worst, where = apart, int(a.numbers[i + row])
        if count:
            told = "another shape or mask" if worst == np.inf else f"by up to {worst:.1e}"
            lines.append(f"{name}: {count} of {len(pairs.first)} differ, {told} (instance {where})")
        largest = max(largest, worst)
    return lines, largest


def _names(data: Dataset) -> list[str]:
    """Return the names of all arrays with a row for each instance, those of further grids too."""
    own = [INSIDE.name] if data.masked == "own" else []
    further = [
        f"{grid_group(points)}/{name}"
        for points in data.config.mesh.grids
        for name in data.names_on(points)
    ]
    return [*data.parameters, *data.fields, *data.unknowns, *own, *further]


def distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return ||one - other|| / ||one||, infinite for other shapes or points without values."""
    if one.shape != other.shape:
        return float("inf")
    values, others = (np.asarray(each, np.float64).ravel() for each in (one, other))
    outside = np.isnan(values)
    if not np.array_equal(outside, np.isnan(others)):
        return float("inf")
    largest = float(np.abs(values).max(initial=0.0, where=~outside)) or 1.0
    # Divided by the largest value, so that no square overflows.
    difference = np.where(outside, 0.0, (others - values) / largest)
    norm = float(np.linalg.norm(np.where(outside, 0.0, values / largest))) or 1.0
    apart = float(np.linalg.norm(difference)) / norm
    return apart if np.isfinite(apart) else float("inf")


def _splits(a: Dataset, b: Dataset, pairs: Pairs) -> list[str]:
    """Return a line for each split that holds other instances."""
    mine, theirs = ({n: set(s.tolist()) for n, s in d.splits().items()} for d in (a, b))
    lines = []
    for name in dict.fromkeys([*mine, *theirs]):
        here, there = mine.get(name, set()), theirs.get(name, set())
        moved = sum(
            (i in here) != (j in there)
            for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        )
        if moved or (name in mine) != (name in theirs):
            lines.append(f"{name}: {len(here)} and {len(there)} instances; {moved} are in one only")
    return lines


def _statistics(a: Dataset, b: Dataset) -> tuple[list[str], float]:
    """Compare the statistics, relative to the root of the mean square.

    Returns:
        A line for each variable whose statistics differ, and the largest relative difference.
    """
    mine, theirs = (
        {name: data.statistics(name) for name in (*data.parameters, *data.fields)}
        for data in (a, b)
    )
    lines, largest = [], 0.0
    for name in dict.fromkeys([*mine, *theirs]):
        if mine.get(name) == theirs.get(name):
            continue
        if name not in mine or name not in theirs or mine[name].keys() != theirs[name].keys():
            lines.append(f"{name}: only in one, or other kinds")
            largest = np.inf
            continue
        scale = abs(mine[name].get("rms", 1.0)) or 1.0
        apart = {k: abs(v - theirs[name][k]) / scale for k, v in mine[name].items()}
        key = max(apart, key=lambda k: (not apart[k] <= np.inf, apart[k]))
        told = f"{mine[name][key]:.6g}, {theirs[name][key]:.6g}"
        lines.append(f"{name}: {key} by {apart[key]:.1e} of its rms ({told})")
        largest = max(largest, apart[key] if apart[key] <= np.inf else np.inf)
    return lines, largest


def _records(a: Dataset, b: Dataset, pairs: Pairs) -> list[str]:
    """Return a line for each quantity of the solve records that differs."""
    mine, theirs = a.solver(), b.solver()
    # Numbers of strategies are those of a file; their names are compared.
    ways = [data.strategies() for data in (a, b)]
    lines = []
    for name in [name for name in mine if name in theirs]:
        one, other = mine[name][pairs.first], theirs[name][pairs.second]
        if name == "way":
            one, other = (
                np.array([names.get(n, "") for n in column.tolist()], dtype=object)
                for names, column in zip(ways, (one, other), strict=True)
            )
        differ = int((one != other).sum())
        if differ and one.dtype == object:
            lines.append(f"{name}: {differ} of {len(one)} differ")
        elif differ:
            lines.append(
                f"{name}: {differ} of {len(one)} differ, mean {one.mean():.4g}, {other.mean():.4g}"
            )
    return lines


def _others(a: Dataset, b: Dataset) -> list[str]:
    """Return a line for each array without instances that differs, such as those of the mesh."""
    mine, theirs = _shared(a), _shared(b)
    lines = []
    for path in dict.fromkeys([*mine, *theirs]):
        if path not in mine or path not in theirs:
            lines.append(f"{path}: only in {'the first' if path in mine else 'the second'}")
        elif (apart := distance(_whole(a, path), _whole(b, path))) > _ROUNDING:
            lines.append(f"{path}: " + ("another shape" if apart == np.inf else f"by {apart:.1e}"))
    return lines


def _shared(data: Dataset) -> list[str]:
    """Return the paths of coordinates, boundary conditions, the shared mesh and its masks."""
    with describable(data.path):
        paths = [p for p in read_seals(data.file) if p.partition("/")[0] not in _ELSEWHERE]
        arrays = {path: data.file[path] for path in paths if path in data.file}
        return [
            path
            for path, array in arrays.items()
            if not array.attrs.get(SAMPLE_VARYING, False)
            if not (array.is_scale and path.startswith("mesh/"))
        ]


def _whole(data: Dataset, path: str) -> NDArray[Any]:
    """Return a whole array."""
    with describable(data.path):
        return np.asarray(data.file[path][()])
