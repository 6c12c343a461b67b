# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of a whole dataset, whose chunks were verified one by one."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.failures import Failure, describe_failures
from kryloset.dataset.splits import split_rows
from kryloset.dataset.staged import StagedFile
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.problems.checks.variety import equal_keys
from kryloset.run.checks.contents import check_statistics
from kryloset.run.checks.failures import refuse
from kryloset.run.checks.outcome import Check, CheckReport
from kryloset.run.checks.verified import Verified


def read_verified(
    config: DatasetConfig, paths: Sequence[Path], chunks: Sequence[StagedFile]
) -> list[Verified]:
    """Read what the verification of each chunk left.

    Args:
        config: The dataset.
        paths: The files of `kryloset verify`, in the order of the chunks.
        chunks: The open files of the chunks.

    Raises:
        DataError: One is missing, of another file than that of the chunk, or of other splits, so
            that its statistics are those of another training split; or a row was changed since.
    """
    found = []
    for path, chunk in zip(paths, chunks, strict=True):
        verified = Verified.read(path)
        if verified.seal != chunk.whole_seal:
            raise DataError(
                f"{path} is of another file than {chunk.path}, which was made since: verify the "
                "chunk again"
            )
        if verified.checksums != chunk.checksums():
            raise DataError(
                f"{chunk.path} is damaged: a row was changed since {path} was made; make the file "
                "again"
            )
        # Their order decides, too, which instances each split has.
        if [*verified.splits.items()] != [*config.splits.items()]:
            raise DataError(
                f"{path} was made with other splits: {verified.splits}, not {config.splits}: "
                "verify the chunk again"
            )
        found.append(verified)
    return found


def add_moments(verified: Sequence[Verified]) -> dict[str, Moments]:
    """Return the moments of all chunks together, by name of a parameter or field."""
    whole = {name: Moments() for name in verified[0].moments}
    for chunk in verified:
        for name, moments in chunk.moments.items():
            whole[name].merge(moments)
    return whole


def join_refinement(
    config: DatasetConfig,
    numbers: NDArray[np.int64],
    verified: Sequence[Verified],
    fields: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Return the distances to the refined solutions by field, of the first instances as drawn.

    Args:
        config: The dataset.
        numbers: The numbers of its instances.
        verified: What the verification of each chunk left.
        fields: Names of the fields.

    Raises:
        DataError: An instance is missing.
    """
    found = {n: errors for chunk in verified for n, errors in chunk.refinement.items()}
    first = numbers[numbers < config.refined].tolist()
    if set(found) != set(first):
        raise DataError(
            f"the chunks were verified with {len(found)} instances on a refined mesh, not "
            f"{len(first)}: verify them again"
        )
    if not first:
        return {}
    return {name: np.array([found[n][name] for n in first]) for name in fields}


def check_whole(
    config: DatasetConfig,
    numbers: NDArray[np.int64],
    verified: Sequence[Verified],
    drawn: NDArray[np.uint8],
    failures: Iterable[Failure],
    statistics: Mapping[str, Mapping[str, float]],
    digests: dict[str, str],
) -> CheckReport:
    """Return the checks of all instances, after those that only the whole can tell.

    That each instance is there once and in its place was checked when the chunks were opened.

    Args:
        config: The dataset.
        numbers: The numbers of its instances.
        verified: What the verification of each chunk left.
        drawn: The digest of each instance, (count, 32), in the drawn order.
        failures: What failed and was drawn again or left out.
        statistics: Those of the dataset, by name of a parameter or field.
        digests: Those of the dataset, by path.

    Raises:
        DataError: Two instances are the same, or the statistics are wrong.
    """
    count, worst = len(numbers), max(chunk.residual_max for chunk in verified)
    chunks = f"{len(verified)} chunks" if len(verified) > 1 else "1 chunk"
    kept = sum(chunk.kept for chunk in verified)
    every = f"{count - kept} instances of {chunks}, each verified from its file"
    if kept:
        every += f"; {kept} were kept, whose digests are those of the dataset where they were"
    # Two chunks may have instances that are the same.
    wrong = [
        f"instances {numbers[first]} and {numbers[index]}"
        for first, index in equal_keys(first_bytes(drawn))
    ]
    refuse("parameters that are the same", wrong)
    check_statistics(add_moments(verified), statistics)
    splits = split_rows(config, numbers)
    sizes = ", ".join(f"{name} {len(split)}" for name, split in splits.items())
    rounded = ", and no more than rounding to float32 adds" if config.storage.rounds else ""
    details = {
        "residuals": f"at most {worst:.3g} in {count} instances, tolerance "
        f"{config.solver.tolerance:.3g}{rounded}",
        "statistics": "those of the training split, from the moments of each chunk",
    }
    checks = [
        Check("integrity", True, f"{len(digests)} digests of what was written"),
        *(Check(name, True, details.get(name, every)) for name in verified[0].checks),
        Check("no duplicates", True, f"{count} different parameter sets"),
        Check("order", True, "each instance once, in the drawn order"),
        Check("splits", True, f"{sizes}: those of seed {config.seed}"),
    ]
    failed = tuple(sorted(failures))
    if failed:
        checks.append(Check("failures", True, describe_failures(failed)))
    return CheckReport(tuple(checks), worst, digests, failures=failed)


def first_bytes(digests: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the first 64 bits of each digest, by which instances are told apart."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64)[:, 0]
