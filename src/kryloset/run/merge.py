# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assemble the chunks into one dataset file, in the drawn order."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole, write_whole
from kryloset.dataset.integrity import damage
from kryloset.dataset.layout import PLACES, SOLVER, find_masked, grid_group, mask_key
from kryloset.dataset.staged import StagedFile
from kryloset.dataset.writer import write_dataset
from kryloset.errors import DataError
from kryloset.krylov.reason import MEANINGS
from kryloset.problems import Family, load_family
from kryloset.problems.checks.coverage import INSIDE, respects
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.run.inputs import (
    open_input,
    read_instance,
    require_made_from,
    require_same,
)
from kryloset.run.solver import strategy_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Places:
    """Where the solution of each drawn instance is.

    Attributes:
        files: The chunks' files.
        file: Which of them, by instance.
        row: Row in that file, by instance.
        chunk: Number of the chunk, by instance, counted from 0.
        position: Place in the solving order, by instance.
    """

    files: Sequence[StagedFile]
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    chunk: NDArray[np.int64]
    position: NDArray[np.int64]

    def gather(self, path: str) -> NDArray[Any]:
        """Return a quantity that has a number for each row, in the drawn order."""
        columns = [file.array(path) for file in self.files]
        gathered = np.empty(len(self.file), dtype=columns[0].dtype)
        for number, column in enumerate(columns):
            mine = self.file == number
            gathered[mine] = column[self.row[mine]]
        return gathered


def run(
    config: DatasetConfig,
    name: str,
    *,
    parameters: Path,
    order: Path,
    chunks: Sequence[Path],
    output: Path,
    timings: Path,
    choices: Path,
) -> None:
    """Write the dataset file, having made sure that it is whole and right.

    Every instance must be there once, solved to the tolerance, and finite. The
    file is read back and compared with what was written before it gets its name.

    Args:
        config: The dataset.
        name: Its name.
        parameters: `parameters.h5`.
        order: `order.h5`.
        chunks: The chunks' files, in any order.
        output: The dataset's file to write.
        timings: JSON file to write: seconds of the sort and, by drawn instance, of each part.
        choices: JSON file to write: by chunk what its solver chose, for `policy: replay`;
            empty where nothing was chosen.

    Raises:
        DataError: An input is missing, damaged or of another configuration; an
            instance is missing, doubled, not finite or not solved; the chunks have not the
            same mesh. Nothing is written.
    """
    family = load_family(config)
    with ExitStack() as stack:
        drawn = stack.enter_context(open_input(parameters, config, name, "parameters"))
        require_same(drawn, config, "sample")
        sorted_ = stack.enter_context(open_input(order, config, name, "permutation"))
        require_made_from(sorted_, drawn)
        files = [_open_chunk(stack, path, config, drawn) for path in chunks]
        places = _places(files, sorted_.array("permutation"), sorted_.array("bounds"))
        solver = _solver(places, config)
        solver["way"], ways = _ways(places)
        seconds = {
            part: places.gather(f"seconds/{part}").tolist() for part in files[0].names("seconds")
        }
        with write_whole(output) as part:
            masks = _masks(files)
            instances = _instances(places, drawn, family, config, masks)
            code = {
                "sample": str(drawn.attrs["code"]),
                "sort": str(sorted_.attrs["code"]),
                "solve": " ".join(sorted({str(file.attrs["code"]) for file in files})),
                "merge": stage_identity("merge", family),
            }
            write_dataset(
                part, name, config, family, instances, solver, MEANINGS, code,
                drawn.digest("parameters"), _shared(files, "mesh"), masks, ways,
            )  # fmt: skip
            _verify(part, output)
        chosen = _choices(places)
        times = {"sort": float(sorted_.attrs["seconds"]), "instances": seconds}
    write_text_whole(timings, json.dumps(times) + "\n")
    write_text_whole(choices, json.dumps(chosen) + "\n")
    logger.info("%s: %d instances, %.1f MB", output, config.count, output.stat().st_size / 1e6)


def _open_chunk(
    stack: ExitStack, path: Path, config: DatasetConfig, drawn: StagedFile
) -> StagedFile:
    file = stack.enter_context(StagedFile(path))
    if "instance" not in file:
        raise DataError(f"{path} has no 'instance': it is no file of a solved chunk")
    require_made_from(file, drawn)
    require_same(file, config, "solve")
    return file


def _places(
    files: Sequence[StagedFile], permutation: NDArray[np.int64], bounds: NDArray[np.int64]
) -> _Places:
    """Find every instance once, and every chunk in its solving order.

    Raises:
        DataError: An instance is missing, doubled, or not where the order has it.
    """
    count = len(permutation)
    owner = np.full(count, -1)
    row = np.zeros(count, dtype=np.int64)
    for number, file in enumerate(files):
        for place, instance in enumerate(file.array("instance")):
            if not 0 <= instance < count:
                raise DataError(f"{file.path} has instance {instance}; there are {count} in all")
            if owner[instance] >= 0:
                raise DataError(
                    f"instance {instance} is in two files, {files[owner[instance]].path} and "
                    f"{file.path}: remove the one that is of another run"
                )
            owner[instance], row[instance] = number, place
    missing = np.flatnonzero(owner < 0)
    if len(missing):
        raise DataError(
            f"instance {missing[0]} is missing{_and_more(missing)}: none of "
            f"{', '.join(str(file.path) for file in files)} has it; solve all chunks"
        )
    position = np.empty(count, dtype=np.int64)
    position[permutation] = np.arange(count)
    chunk = np.searchsorted(bounds, position, side="right") - 1
    for file in files:
        found = position[file.array("instance")]
        first = chunk[file.array("instance")[0]]
        if not np.array_equal(found, np.arange(bounds[first], bounds[first + 1])):
            raise DataError(
                f"{file.path} does not have the instances of a chunk in their sorted order: "
                "it was solved for another order; solve it again"
            )
    return _Places(files, owner, row, chunk, position)


def _and_more(instances: NDArray[np.int64]) -> str:
    """Return how many instances beside the first a message is about."""
    return f", and {len(instances) - 1} more" if len(instances) > 1 else ""


def _solver(places: _Places, config: DatasetConfig) -> dict[str, NDArray[Any]]:
    """Return the evidence of the solver in the drawn order.

    Raises:
        DataError: An instance's true residual is not within the tolerance.
    """
    stored = [quantity for quantity in SOLVER if quantity not in PLACES]
    solver = {quantity: places.gather(f"solver/{quantity}") for quantity in stored}
    # Not "above", so that a residual that is no number is found too.
    unsolved = np.flatnonzero(~(solver["true_residual"] <= config.solver.tolerance))
    if len(unsolved):
        worst = unsolved[0]
        raise DataError(
            f"instance {worst} of {places.files[places.file[worst]].path} has the true "
            f"residual {solver['true_residual'][worst]:.3g}, above the tolerance "
            f"{config.solver.tolerance:.3g}{_and_more(unsolved)}; solve the chunk again"
        )
    return {**solver, "chunk": places.chunk, "position": places.position}


def _ways(places: _Places) -> tuple[NDArray[np.int64], list[str]]:
    """Return the way of each instance in the drawn order, and what the numbers mean.

    Each chunk numbers its ways by itself; here those that were taken have one number each.
    """
    labels = [json.loads(file.attrs["ways"]) for file in places.files]
    names = [
        [strategy_name(file_labels[way]) for way in file.array("solver/way")]
        for file, file_labels in zip(places.files, labels, strict=True)
    ]
    taken = sorted({name for column in names for name in column})
    numbers = [
        taken.index(names[file][row]) for file, row in zip(places.file, places.row, strict=True)
    ]
    return np.array(numbers), taken


def _choices(places: _Places) -> dict[str, Any]:
    """Return the recorded choices by the name of the chunk, as in `1-of-2`."""
    numbers = {int(places.chunk[file.array("instance")[0]]): file for file in places.files}
    return {
        f"{number + 1}-of-{len(numbers)}": json.loads(file.text("choices"))
        for number, file in sorted(numbers.items())
        if "choices" in file
    }


def _shared(files: Sequence[StagedFile], group: str) -> dict[str, NDArray[Any]]:
    """Return the mesh that all chunks share, or its masks.

    Raises:
        DataError: A chunk has another one, or none.
    """
    first, *others = (
        {name: file.array(f"{group}/{name}") for name in file.names(group)} for file in files
    )
    for file, meshes in zip(files[1:], others, strict=True):
        if meshes.keys() != first.keys() or not all(
            np.array_equal(meshes[name], values) for name, values in first.items()
        ):
            raise DataError(
                f"{file.path} was solved on another mesh than {files[0].path}; solve both "
                "chunks again on the same machine"
            )
    return first


def _masks(files: Sequence[StagedFile]) -> dict[str, NDArray[np.int8]]:
    """Return the masks that all chunks share, by their names among an instance's arrays."""
    return {
        mask_key("" if grid == "grid" else f"{grid}/"): mask
        for grid, mask in _shared(files, "mask").items()
    }


def _solution_names(
    files: Sequence[StagedFile], family: Family, config: DatasetConfig
) -> list[str]:
    """Return the names of all arrays that every chunk must have."""
    fields = [variable.name for variable in family.fields]
    names = [*fields, *(variable.name for variable in family.unknowns)]
    # Where each instance has a domain of its own.
    own = {INSIDE.name for file in files if INSIDE.name in file.names("fields")}
    names += sorted(own)
    for group in map(grid_group, config.mesh.grids):
        resampled = {name for file in files for name in file.names(f"fields/{group}")}
        names += [f"{group}/{name}" for name in sorted(resampled.union(fields))]
    return names


def _instances(
    places: _Places,
    drawn: StagedFile,
    family: Family,
    config: DatasetConfig,
    masks: Mapping[str, NDArray[np.int8]],
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield parameters and solution, those on further grids too, in the drawn order.

    Raises:
        DataError: A number is not finite, or not NaN outside of the domain; or a field is
            damaged or missing.
    """
    names = _solution_names(places.files, family, config)
    ranks = find_masked(family, {*names, *masks})
    for index in track(range(len(places.row)), "merging"):
        file, row = places.files[places.file[index]], places.row[index]
        try:
            fields = {name: file.row(f"fields/{name}", row) for name in names}
        except DataError as error:
            raise DataError(f"instance {index} cannot be merged: {error}") from None
        parameters = read_instance(drawn, family, index)
        for source, arrays in ((drawn, parameters), (file, fields)):
            for key, values in arrays.items():
                if key in ranks:
                    inside = {**masks, **arrays}[mask_key(key)].astype(np.bool_)
                    right = respects(values, inside, ranks[key])
                else:
                    right = bool(np.isfinite(values).all())
                if not right:
                    outside = ", or not NaN outside of the domain" if key in ranks else ""
                    raise DataError(
                        f"instance {index} of {source.path} has values of {key!r} that are "
                        f"not finite{outside}; remove the file and make it again"
                    )
        yield parameters | fields


def _verify(part: Path, output: Path) -> None:
    """Read back all that was written.

    Raises:
        DataError: The file does not hold what was written.
    """
    with h5py.File(part, "r") as file:
        found = damage(file)
    if found:
        raise DataError(f"{output} was not written faithfully; check the disk: {'; '.join(found)}")
