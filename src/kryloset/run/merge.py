# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Merge the chunks into one dataset file, in the drawn order."""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole, write_whole
from kryloset.dataset.failures import dump_failures, stored_numbers
from kryloset.dataset.integrity import damage, read_seals
from kryloset.dataset.layout import PLACES, recorded
from kryloset.dataset.reader import read_statistics
from kryloset.dataset.staged import StagedFile
from kryloset.dataset.writer import write_dataset
from kryloset.errors import DataError
from kryloset.krylov.reason import MEANINGS
from kryloset.problems.populations import load_populations
from kryloset.progress import track
from kryloset.provenance import stage_identity, versions
from kryloset.run import files as names
from kryloset.run.checks.whole import (
    add_moments,
    check_whole,
    join_refinement,
    read_verified,
)
from kryloset.run.inputs import open_order, require_made_from, require_same
from kryloset.run.keeping import release
from kryloset.run.redrawn import read_redrawn
from kryloset.run.solved import Places, read_instances, read_masks, read_shared

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig,
    name: str,
    *,
    order: Path,
    chunks: Sequence[Path],
    verified: Sequence[Path],
    output: Path,
    check: Path,
    timings: Path,
    choices: Path,
) -> None:
    """Write the dataset file, after checking that it is complete and correct.

    Every instance must be there exactly once, solved to the tolerance, and verified. The file is
    read back and compared with what was written before it gets its final name, but for rows that
    move into it as they were stored, with their checksums and digests.

    Args:
        config: The dataset.
        name: Its name.
        order: `order.h5`.
        chunks: The chunks' files, in any order.
        verified: The file that `kryloset verify` wrote of each.
        output: The dataset's file to write.
        check: JSON file to write: the checks that all instances passed.
        timings: JSON file to write: seconds of the sort and, by drawn instance, of each part.
        choices: JSON file to write: the recorded selection of each chunk, for `policy: replay`;
            empty if the solver was fixed.

    Raises:
        DataError: An input is missing, damaged or made with another configuration; a chunk was
            not verified; an instance is missing, duplicated or not solved; or the chunks have
            different meshes. No dataset is written.
    """
    populations = load_populations(config)
    family = populations[0].family
    with ExitStack() as stack:
        sorted_ = stack.enter_context(open_order(order, config))
        files = [_open_chunk(stack, path, config, sorted_) for path in chunks]
        evidence = read_verified(config, verified, files)
        drawn, failures = read_redrawn(sorted_, files, config, populations)
        places = _places(files, sorted_, stored_numbers(config.total, failures))
        drawn = drawn[places.numbers]
        # Sums of moments depend in their last digits on the order.
        evidence = [evidence[number] for number in np.argsort(places.chunks())]
        solver = _solver(places, config)
        solver["way"], strategies = _strategies(places)
        seconds = {
            part: places.gather(names.seconds(part)).tolist()
            for part in files[0].names(names.SECONDS)
        }
        recorded = json.dumps(_recorded_selections(places))
        texts = {
            "choices": recorded if recorded != "{}" else "",
            "earlier": _earlier(files, sorted_),
            "failures": dump_failures(failures) if len(failures) else "",
        }
        texts = {key: text for key, text in texts.items() if text}
        with write_whole(output) as part:
            masks = read_masks(files)
            instances = track(
                read_instances(places, family, config), "merging", total=len(places.numbers)
            )
            code = {
                "sort": str(sorted_.attrs[names.CODE]),
                "solve": _joined(files, names.CODE),
                "merge": stage_identity("merge", family),
            }
            write_dataset(
                part, name, config, family, instances, solver, MEANINGS, code,
                sha256(drawn).hexdigest(), read_shared(files, names.MESH), masks, strategies,
                add_moments(evidence), versions(_joined(files, names.PETSC)),
                texts,
                join_refinement(
                    config, places.numbers, evidence, [field.name for field in family.fields]
                ),
            )  # fmt: skip
            report = check_whole(
                config, places.numbers, evidence, drawn, failures, *_verify(part, output)
            )
        times = {"sort": float(sorted_.attrs[names.SECONDS_SORT]), "instances": seconds}
    report.write(check)
    write_text_whole(timings, json.dumps(times) + "\n")
    write_text_whole(choices, recorded + "\n")
    release(order)
    count, size = len(places.numbers), output.stat().st_size
    logger.info("%s: %d instances, %.1f MB", output, count, size / 1e6)


def _open_chunk(
    stack: ExitStack, path: Path, config: DatasetConfig, order: StagedFile
) -> StagedFile:
    file = stack.enter_context(StagedFile(path))
    if names.INSTANCE not in file:
        raise DataError(f"{path} has no {names.INSTANCE!r}: it is not the file of a solved chunk")
    require_made_from(file, order)
    require_same(file, config, "solve")
    return file


def _joined(files: Sequence[StagedFile], attribute: str) -> str:
    """Return an attribute of all chunks: each text that it has once."""
    return " ".join(sorted({str(file.attrs[attribute]) for file in files}))


def _places(files: Sequence[StagedFile], order: StagedFile, numbers: NDArray[np.int64]) -> Places:
    """Find where each instance is, and check that each chunk is in its solving order.

    Args:
        files: The files of the chunks.
        order: `order.h5`.
        numbers: The numbers of the instances that are not left out.

    Raises:
        DataError: An instance is missing, duplicated, or not in its place of the order.
    """
    count = len(numbers)
    found_in = np.full(count, -1)
    row = np.zeros(count, dtype=np.int64)
    for number, file in enumerate(files):
        instances = file.array(names.INSTANCE)
        rows = np.searchsorted(numbers, instances)
        for where, (instance, mine) in enumerate(zip(instances, rows, strict=True)):
            if mine == count or numbers[mine] != instance:
                raise DataError(f"{file.path} has instance {instance}; there are {count} in all")
            if found_in[mine] >= 0:
                raise DataError(
                    f"instance {instance} is in two files, {files[found_in[mine]].path} and "
                    f"{file.path}: remove the file that belongs to another run"
                )
            found_in[mine], row[mine] = number, where
    missing = numbers[found_in < 0]
    if len(missing):
        raise DataError(
            f"instance {missing[0]} is missing{_and_more(missing)}: none of "
            f"{', '.join(str(file.path) for file in files)} has it; solve all chunks"
        )
    sorted_, bounds = order.array(names.PERMUTATION), order.array(names.BOUNDS)
    there = np.isin(sorted_, numbers)
    solved = np.searchsorted(numbers, sorted_[there])
    position, chunk = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    position[solved] = np.arange(count)
    chunk[solved] = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[there]
    for number, file in enumerate(files):
        mine = found_in == number
        whole = np.flatnonzero(chunk == chunk[mine][0])
        in_order = whole[np.argsort(position[whole])]
        if not np.array_equal(numbers[in_order], file.array(names.INSTANCE)):
            raise DataError(
                f"{file.path} does not have the instances of a chunk in their sorted order: it "
                "was solved with another order; solve it again"
            )
    return Places(files, numbers, found_in, row, chunk, position)


def _and_more(instances: NDArray[np.int64]) -> str:
    """Return the end of a message that names the first instance of several."""
    return f", and {len(instances) - 1} more" if len(instances) > 1 else ""


def _earlier(files: Sequence[StagedFile], order: StagedFile) -> str:
    """Return the runs that made the instances that are kept; nothing if none are.

    Raises:
        DataError: A chunk keeps instances, and another one solved them.
    """
    counts = {int(file.attrs.get(names.KEPT, 0)): file.path for file in files}
    if len(counts) > 1:
        one, other = (counts[count] for count in sorted(counts)[:2])
        raise DataError(
            f"{other} keeps instances of an earlier dataset, and {one} was solved without it: "
            "remove the chunks and run again"
        )
    return order.text(names.EARLIER) if any(counts) and names.EARLIER in order else ""


def _solver(places: Places, config: DatasetConfig) -> dict[str, NDArray[Any]]:
    """Return the solve records in the drawn order, by quantity.

    Raises:
        DataError: An instance's true residual is not within the tolerance.
    """
    stored = [quantity for quantity in recorded(config.storage) if quantity not in PLACES]
    solver = {quantity: places.gather(names.solver(quantity)) for quantity in stored}
    # Written so that a NaN is found, too.
    unsolved = np.flatnonzero(~(solver["true_residual"] <= config.solver.tolerance))
    if len(unsolved):
        worst = unsolved[0]
        raise DataError(
            f"instance {places.numbers[worst]} of {places.files[places.file[worst]].path} has the "
            f"true residual {solver['true_residual'][worst]:.3g}, above the tolerance "
            f"{config.solver.tolerance:.3g}{_and_more(unsolved)}; solve the chunk again"
        )
    return {**solver, "chunk": places.chunk, "position": places.position}


def _strategies(places: Places) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each instance's strategy in the drawn order, and their labels.

    Each chunk has its own numbers of strategies. Here the used strategies get common numbers.
    """
    labels = [json.loads(file.attrs[names.STRATEGIES]) for file in places.files]
    used = [
        [names.strategy_name(chunk_labels[number]) for number in column]
        for chunk_labels, column in zip(
            labels, (file.array(names.solver("way")) for file in places.files), strict=True
        )
    ]
    taken = sorted({label for column in used for label in column})
    numbers = [
        taken.index(used[file][row]) for file, row in zip(places.file, places.row, strict=True)
    ]
    return np.array(numbers), taken


def _recorded_selections(places: Places) -> dict[str, Any]:
    """Return the recorded selection of each chunk, by the chunk's name, such as `1-of-2`."""
    chunks = dict(zip(places.chunks(), places.files, strict=True))
    return {
        f"{number + 1}-of-{len(chunks)}": json.loads(file.text(names.SELECTION))
        for number, file in sorted(chunks.items())
        if names.SELECTION in file
    }


def _verify(part: Path, output: Path) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Read back all that was written, but for rows that were moved as they were stored.

    Returns:
        Statistics by name, and digests by path.

    Raises:
        DataError: The file does not hold what was written.
    """
    with h5py.File(part, "r") as file:
        found = damage(file, moved=True)
        statistics, digests = {}, {}
        if not found:
            statistics, digests = read_statistics(file), read_seals(file)
    if found:
        raise DataError(f"{output} was not written correctly; check the disk: {'; '.join(found)}")
    return statistics, digests
