# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A chunk: which instances it has, and the file that their solutions are written to."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, StorageConfig
from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.failures import Failure, dump_failures, parse_failures
from kryloset.dataset.integrity import DIGEST
from kryloset.dataset.journal import Journal
from kryloset.dataset.layout import Placement, place, stored_row
from kryloset.dataset.staged import StagedFile
from kryloset.dependence import LENIENCE, keys_of
from kryloset.errors import DataError
from kryloset.problems import Discretisation, Family, family_files
from kryloset.provenance import stage_identity
from kryloset.run import files
from kryloset.run.solve_record import SolveRecord
from kryloset.run.solver import read_choices


@dataclass(frozen=True)
class Chunk:
    """A contiguous part of the sorted instances, which one job solves but for those it keeps.

    Attributes:
        name: Such as `1-of-2`.
        instances: Drawn numbers of the instances, in their order.
        output: The file that they are written to.
        kept: How many instances of the dataset are kept from an earlier one: those with the
            smallest numbers. A chunk has its own last.
    """

    name: str
    instances: NDArray[np.int64]
    output: Path
    kept: int = 0

    @classmethod
    def of(cls, order: StagedFile, name: str, output: Path, kept: int = 0) -> Self:
        """Return a chunk of an open `order.h5`.

        Args:
            order: The file.
            name: Name of the chunk.
            output: The file that it is written to.
            kept: As the attribute.

        Raises:
            DataError: The name is not that of a chunk, or the instances were divided into another
                number of chunks.
        """
        match = re.fullmatch(r"(\d+)-of-(\d+)", name)
        if match is None:
            raise DataError(f"chunk {name!r} is not of the form 1-of-2")
        number, total = map(int, match.groups())
        bounds = order.array(files.BOUNDS)
        if total != len(bounds) - 1 or not 1 <= number <= total:
            raise DataError(
                f"chunk {name}: {order.path} is divided into {len(bounds) - 1} chunks; "
                "sort again with the number of chunks that you solve"
            )
        permutation = order.array(files.PERMUTATION)
        instances = np.asarray(permutation[bounds[number - 1] : bounds[number]])
        return cls(name, instances, output, kept)

    def __len__(self) -> int:
        """Return the number of instances that are solved."""
        return len(self.solved)

    @cached_property
    def solved(self) -> NDArray[np.int64]:
        """Drawn numbers of the instances that are solved, in solving order."""
        return self.instances[self.instances >= self.kept]

    def is_solved(self, fingerprint: str) -> bool:
        """Return whether the file is there and was made by the work that a fingerprint names."""
        if not self.output.exists():
            return False
        try:
            with StagedFile(self.output) as file:
                return bool(file.attrs.get(files.FINGERPRINT) == fingerprint)
        except DataError:  # written by an earlier version, or damaged
            return False

    def group(self, number: int, size: int) -> NDArray[np.int64]:
        """Return the instances of a group.

        Args:
            number: Number of the group, from 0 on.
            size: Number of instances in each group; the last may have fewer.
        """
        return self.solved[number * size : (number + 1) * size]

    def before(self, position: int, left_out: Collection[int]) -> int:
        """Return the last instance before a place in the solving order; -1 if there is none.

        Args:
            position: The place, among those that are solved.
            left_out: Instances that were not solved.
        """
        earlier = (int(self.solved[place]) for place in reversed(range(position)))
        return next((number for number in earlier if number not in left_out), -1)


def record_solves(before: int, solved: Sequence[SolveRecord]) -> dict[str, NDArray[Any]]:
    """Return what the solves of a group took, by the paths of the arrays in the file.

    Args:
        before: The instance that was solved before the group, or -1.
        solved: What the solve of each took.
    """
    quantities = (
        "iterations", "operator_applications", "preconditioner_applications", "systems",
        "escalations", "reason", "true_residual",
    )  # fmt: skip
    earlier = [before, *(one.instance for one in solved)]
    predecessors = [
        number if one.recycled else -1 for number, one in zip(earlier, solved, strict=False)
    ]
    return {
        files.INSTANCE: _column(solved, "instance"),
        **{files.solver(name): _column(solved, name) for name in quantities},
        files.solver("way"): _column(solved, "strategy"),
        files.solver("predecessor"): np.array(predecessors),
        **{files.seconds(part): _column(solved, f"seconds_{part}") for part in files.PARTS},
    }


class Encoder:
    """Encodes the rows of a chunk's arrays, all as those of its first group.

    Args:
        family: The family of the instances.
        journal: Records of the groups before, perhaps none.
        storage: How they are stored.
    """

    def __init__(self, family: Family, journal: Journal, storage: StorageConfig) -> None:
        """Find how the rows of the first group were stored."""
        self._family = family
        self._storage = storage
        # All instances of a group may have been left out.
        first: Mapping[str, NDArray[Any] | Encoded] = next(
            (record for record in journal.records() if files.INSTANCE in record), {}
        )
        self._storages = {
            path: rows.storage for path, rows in first.items() if isinstance(rows, Encoded)
        }
        self._placements: dict[str, Placement] = {}

    def rows(
        self,
        instances: Sequence[Mapping[str, NDArray[Any]]],
        fields: Sequence[Mapping[str, NDArray[Any]]],
        drawn: Sequence[bytes],
    ) -> dict[str, NDArray[Any] | Encoded]:
        """Return the rows of a group as the dataset will store them, by their paths in the file.

        Args:
            instances: Parameters of each instance.
            fields: Fields and unknowns of each; those on a further grid by `files.on_grid`.
            drawn: The digests of each instance's parameters, from `Drawn.digested`.
        """
        found = {}
        for number, key in enumerate(instances[0]):
            own = slice(number * DIGEST, (number + 1) * DIGEST)
            digests, path = b"".join(each[own] for each in drawn), files.parameter(key)
            found[path] = self._encode(path, key, instances, digests)
        return found | self.fields(fields)

    def fields(
        self, fields: Sequence[Mapping[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any] | Encoded]:
        """Return the rows of fields and unknowns of a group, as `rows` does."""
        return {files.field(k): self._encode(files.field(k), k, fields) for k in fields[0]}

    def stored(self, path: str, rows: NDArray[Any] | Encoded) -> NDArray[Any] | Encoded:
        """Return rows from another file, encoded as those of the first group."""
        if not isinstance(rows, Encoded):
            return rows
        storage = self._storages.setdefault(path, rows.storage)
        return rows if rows.storage == storage else storage.encode(rows.decode(), rows.digests)

    def _encode(
        self,
        path: str,
        key: str,
        group: Sequence[Mapping[str, NDArray[Any]]],
        digests: bytes | None = None,
    ) -> NDArray[Any] | Encoded:
        if path not in self._placements:
            self._placements[path] = place(self._family, key)
        placement = self._placements[path]
        precision = self._storage.precision
        rows = [stored_row(self._family, placement, one[key], precision) for one in group]
        if not placement.has_rows or placement.variable.ragged:
            return np.stack(rows)
        if path not in self._storages:
            times, compression = "time" in placement.axes, self._storage.compression
            self._storages[path] = Storage.of(rows[0], times=times, compression=compression)
        try:
            return self._storages[path].encode(rows, digests)
        except DataError as error:
            raise DataError(f"{key!r} cannot be stored: {error}") from None


def _column(solved: Sequence[SolveRecord], name: str) -> NDArray[Any]:
    return np.array([getattr(one, name) for one in solved])


def record_shared(discretisation: Discretisation) -> dict[str, NDArray[Any]]:
    """Return the mesh of all instances and its masks, by their paths in the file. Collective."""
    meshes = {files.mesh(name): values for name, values in discretisation.meshes().items()}
    masks = {files.mask(points): values for points, values in discretisation.masks().items()}
    return meshes | masks


def fingerprint(
    chunk: Chunk, order: StagedFile, config: DatasetConfig, family: Family, processes: int
) -> str:
    """Return a digest of everything that determines the solutions of a chunk, bit for bit.

    Args:
        chunk: The chunk.
        order: The open `order.h5` that it is a part of.
        config: The dataset.
        family: Its family.
        processes: Number of processes that share each solve.
    """
    digest = hashlib.sha256()
    settings = config.model_dump_json(include=set(keys_of("solve").difference(LENIENCE)))
    digest.update(f"{settings} {stage_identity('solve', family)} {processes}".encode())
    for name, file in family_files(config).items():
        digest.update(name.encode() + file.read_bytes())
    if config.solver.replayed is not None:
        digest.update(read_choices(config.solver.replayed).encode())
    digest.update(chunk.instances.tobytes())
    digest.update(order.array(files.DRAWN)[chunk.instances].tobytes())
    if chunk.kept:
        digest.update(f"{chunk.kept} {order.seal(files.kept(None))}".encode())
    return digest.hexdigest()


def recorded_failures(journal: Journal) -> list[Failure]:
    """Return what failed as the records of a journal were solved.

    Raises:
        DataError: A record is damaged.
    """
    texts = (record[files.FAILURES] for record in journal.records() if files.FAILURES in record)
    found = (parse_failures(str(text), str(journal.folder)) for text in texts)
    return [failure for failures in found for failure in failures]


def write_chunk(
    chunk: Chunk,
    journal: Journal,
    family: Family,
    attributes: Mapping[str, str | float],
    selection: str | None = None,
) -> None:
    """Make the file of a complete journal, whole or not at all.

    Args:
        chunk: The chunk.
        journal: Its records have the rows of a group each; the first one also has what
            `record_shared` returned.
        family: Says which unknowns are ragged.
        attributes: Attributes of the file.
        selection: What automatic selection chose, as text.

    Raises:
        DataError: A record is missing, or the file cannot be written.
    """
    failures = recorded_failures(journal)
    count = len(chunk.instances) - sum(failure.left_out for failure in failures)
    if journal.instances != count:
        raise DataError(f"{journal.folder} has {journal.instances} of {count} instances")
    if not count:
        raise DataError(
            f"all {len(failures)} instances of chunk {chunk.name} are left out: see why in its "
            "log, or take fewer chunks"
        )
    ragged = {files.field(variable.name) for variable in family.unknowns if variable.ragged}
    with journal.finish(chunk.output) as file:
        file.describe(attributes)
        if selection is not None:
            file.text(files.SELECTION, selection)
        if failures:
            file.text(files.FAILURES, dump_failures(failures))
        for record in journal.records():
            for path, values in record.items():
                if isinstance(values, Encoded) or path == files.FAILURES:
                    continue  # It is there already.
                if path in ragged:
                    for row in values:
                        file.ragged_row(path, row)
                elif files.is_shared(path):
                    file.array(path, values)
                else:
                    file.numbers(path, values)
