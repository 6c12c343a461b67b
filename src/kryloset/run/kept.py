# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The instances of an earlier dataset that a new one keeps, read as they are stored."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from kryloset.config import DatasetConfig, GridPoints
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.failures import Failure
from kryloset.dataset.integrity import DIGEST, digest_row
from kryloset.dataset.layout import PLACES, place, recorded, widen
from kryloset.dataset.origin import Earlier, keep_first
from kryloset.dataset.reader import Dataset
from kryloset.dataset.staged import StagedFile
from kryloset.dependence import FREE
from kryloset.problems import Family, Instance
from kryloset.problems.base import Array
from kryloset.problems.checks.coverage import INSIDE
from kryloset.provenance import commit, family_sources, stage_identity, versions
from kryloset.run import files

ORDER = ("sort", "features", "chunks")
"""Keys on which the order of the instances depends."""


class Kept:
    """The first instances of an earlier dataset; use it in a `with` statement.

    Args:
        path: The dataset.
        family: Its family, as far as it is known: `why_not` tells.
        most: How many instances are kept at most.

    Attributes:
        path: The dataset.
        count: Instances below this number are kept.
        numbers: Their numbers, which are all but those that are left out.
        config: Its configuration.
        grids: Its further grids.

    Raises:
        DataError: The file is missing, damaged or not a dataset.
    """

    def __init__(self, path: Path, family: Family, most: int) -> None:
        """Open the dataset, and read what it says about itself."""
        self.path = path
        self._family = family
        with Dataset(path) as data:
            data.require_unchanged_texts()
            self.config = data.config
            self.count = min(data.config.count, most)
            self.numbers = data.numbers[data.numbers < self.count]
            self.grids = {points: data.names_on(points) for points in data.config.mesh.grids}
            self._sources, self._provenance = data.family_sources(), data.provenance()
            self._own_mask, self._ways = data.masked == "own", data.strategies()
            self._choices = data.choices()
        self._file = StagedFile(path)

    def __enter__(self) -> Self:
        """Return the instances themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the dataset."""
        self._file.__exit__(kind, error, trace)

    def why_not(self, config: DatasetConfig) -> str | None:
        """Return why another dataset cannot keep the instances; None if it can."""
        mine, its = self.config.family, config.family
        if mine.rpartition(":")[1:] != its.rpartition(":")[1:]:
            return f"its family is {mine}"
        if self._sources != family_sources(config):
            return "the file of its family had another text"
        if config.on_failure == "redraw" and len(self.numbers) < self.count:
            return "it left out instances that are now to be drawn again"
        for key in sorted(DatasetConfig.model_fields.keys() - FREE - {"family"}):
            if self._decisive(self.config, key) != self._decisive(config, key):
                return f"it has another {key}"
        return None

    def _decisive(self, config: DatasetConfig, key: str) -> Any:
        """Return the part of a key on which solutions depend."""
        if key == "parameters":
            try:
                return type(self._family).Settings.model_validate(config.parameters)
            except ValidationError:
                return None
        if key == "mesh":
            return config.mesh.model_dump(exclude={"grids"})
        if key == "solver":
            return config.solver.model_dump(exclude={"policy"})
        if key == "storage":
            return config.storage.precision
        return getattr(config, key)

    def is_of_code(self, *stages: str) -> bool:
        """Return whether the code of some stages is that which made all of the instances."""
        made = [run.code for run in self._provenance.earlier] + [self._provenance.code]
        return all(
            code.get(stage) == stage_identity(stage, self._family)
            for stage in stages
            for code in made
        )

    def runs(self, config: DatasetConfig) -> tuple[Earlier, ...]:
        """Return the runs that made the kept instances.

        If the new dataset has the same instances in the same order, made by the same programs
        without a clock, it is as if it had been made at once.
        """
        told = self._provenance
        same = all(getattr(self.config, key) == getattr(config, key) for key in ("count", *ORDER))
        same = same and self._choices is None and self.is_of_code("sort", "solve")
        if same and told.versions == versions() | commit():
            return told.earlier
        last = Earlier(self.config.count, told.code, told.versions, self._own_choices())
        return keep_first((*told.earlier, last), self.count)

    def _own_choices(self) -> str | None:
        """Return the recorded selections, named as if there were no shifts.

        Shifted instances are never kept. Their chunks are the last ones.
        """
        if self._choices is None or not self.config.ood:
            return self._choices
        found = {}
        for name, selection in json.loads(self._choices).items():
            number, chunks = (int(part) for part in name.split("-of-"))
            own = chunks - len(self.config.ood)
            if number <= own:
                found[f"{number}-of-{own}"] = selection
        return json.dumps(found)

    def known(self, config: DatasetConfig) -> Sequence[Instance]:
        """Return the parameters that need not be drawn.

        None are known if other code has drawn them, or if some now lie in another file.
        """
        same = self.config.instances == config.instances and self.is_of_code("sort")
        return KeptParameters(self) if same else ()

    def failures(self) -> tuple[Failure, ...]:
        """Return the failures before the attempts by which the instances were drawn, or none."""
        return tuple(one for one in self._provenance.failures if one.instance < self.count)

    def drawn(self) -> NDArray[np.uint8]:
        """Return the digest of each instance's parameters, (count, 32), zeros without any."""
        return self._digest_rows([self._path(v.name) for v in self._family.parameters])

    def digests(self, points: GridPoints | None = None) -> NDArray[np.uint8]:
        """Return the digest of what is kept of each instance, (count, 32), as `files.kept` has it.

        Args:
            points: Points a side of a further grid; None for the dataset's own.
        """
        paths = [self._path(key) for key in self._keys(points)]
        columns = [] if points else [self._column(name) for name in kept_quantities(self.config)]
        return self._digest_rows(paths, columns)

    def _digest_rows(
        self, paths: Sequence[str], columns: Sequence[NDArray[Any]] = ()
    ) -> NDArray[np.uint8]:
        digests = np.zeros((self.count, DIGEST), np.uint8)
        for row, number in enumerate(self.numbers):
            found = digest_parts(self._file, paths, [column[row] for column in columns], row)
            digests[number] = np.frombuffer(found, np.uint8)
        return digests

    def _row(self, number: int) -> int:
        return int(np.searchsorted(self.numbers, number))

    def parameters(self, index: int) -> dict[str, Array]:
        """Return the parameters of an instance by its number, as they were drawn."""
        paths, row = {v.name: self._path(v.name) for v in self._family.parameters}, self._row(index)
        return {name: widen(self._file.row(path, row)) for name, path in paths.items()}

    def solution(self, index: int) -> dict[str, Array]:
        """Return the solution of an instance, as `Discretisation.solve` returned it."""
        steady = self._family.times is None
        found = {}
        for key in self._keys(None):
            row = widen(self._file.row(self._path(key), self._row(index)))
            found[key] = row[0] if steady and "time" in place(self._family, key).axes else row
        return found

    def ways(self) -> list[str]:
        """Return the names of the strategies by which instances were solved."""
        return list(self._ways.values())

    def rows(
        self, numbers: Sequence[int], grids: Sequence[GridPoints], first_way: int
    ) -> dict[str, NDArray[Any] | Encoded]:
        """Return what a chunk has of some instances, a row each, by paths.

        No seconds were spent on them.

        Args:
            numbers: The instances; one, if a variable is ragged.
            grids: Further grids on which their values are kept.
            first_way: Number of the first of `ways()` in the chunk.
        """
        rows = [self._row(number) for number in numbers]
        ways = [
            [*self._ways].index(way) for way in self._file.array(files.solver("way"))[rows].tolist()
        ]
        keys = [*self._keys(None), *(key for points in grids for key in self._keys(points))]
        drawn = [variable.name for variable in self._family.parameters]
        return {
            files.INSTANCE: np.array(numbers),
            **{files.parameter(name): self._stored(name, rows) for name in drawn},
            **{files.field(key): self._stored(key, rows) for key in keys},
            **{
                files.solver(name): self._column(name)[rows]
                for name in kept_quantities(self.config)
            },
            files.solver("way"): first_way + np.array(ways),
            **{files.seconds(part): np.zeros(len(rows)) for part in files.PARTS},
        }

    def _stored(self, key: str, rows: list[int]) -> NDArray[Any] | Encoded:
        placement = place(self._family, key)
        if placement.variable.ragged:
            return np.stack([self._file.row(placement.path, row) for row in rows])
        if not placement.has_rows:
            return self._file.array(placement.path)[rows]
        every = [self._file.encoded(placement.path, row) for row in rows]
        digests = b"".join(one.digests for one in every)
        return Encoded(every[0].storage, digests, [p for one in every for p in one.pieces])

    def _column(self, quantity: str) -> NDArray[Any]:
        """Return a quantity of the solve records of all instances."""
        column = self._file.array(files.solver(quantity))[: len(self.numbers)]
        if quantity == "predecessor":
            # An instance that is left out is not there to be named.
            return np.where(column < self.count, column, -1)
        return column

    def _keys(self, points: GridPoints | None) -> list[str]:
        return solution_keys(
            self._family, self._own_mask, points, self.grids.get(points, ()) if points else ()
        )

    def _path(self, key: str) -> str:
        return place(self._family, key).path


def kept_quantities(config: DatasetConfig) -> list[str]:
    """Return the quantities of a solve record that a kept instance keeps.

    Merging numbers places and ways anew.
    """
    return [name for name in recorded(config.storage) if name not in (*PLACES, "way")]


def solution_keys(
    family: Family, own_mask: bool, points: GridPoints | None, names: Sequence[str]
) -> list[str]:
    """Return the keys of what an instance has on a grid, in the order in which it is digested.

    Args:
        family: The family.
        own_mask: Whether each instance has a mask of its own.
        points: Points a side of a further grid; None for the dataset's own.
        names: Names of the variables on the further grid.
    """
    if points:
        return [files.on_grid(points, name) for name in sorted(names)]
    solved = [variable.name for variable in (*family.fields, *family.unknowns)]
    return [*solved, INSIDE.name] if own_mask else solved


def digest_parts(file: StagedFile, paths: Sequence[str], numbers: Sequence[Any], row: int) -> bytes:
    """Return the digest of an instance's rows of some arrays and of some numbers."""
    parts = [file.row_digest(path, row) for path in paths]
    return sha256(b"".join([*parts, *map(digest_row, numbers)])).digest()


class KeptParameters(Sequence[Instance]):
    """The parameters of kept instances, each read when it is asked for."""

    def __init__(self, kept: Kept) -> None:
        """Read nothing yet."""
        self._kept = kept

    def __len__(self) -> int:
        """Return how many there are."""
        return self._kept.count

    def __getitem__(self, index: int) -> Instance:  # type: ignore[override]
        """Return those of an instance."""
        return self._kept.parameters(index)
