# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve one sorted chunk, recycling from each instance to the next.

A chunk can be killed at any moment and taken up again where it stopped: each
instance is appended to a journal once it is solved and verified, and the
recycled space is saved beside it, so that the numbers after a resumption are,
bit for bit, those of a run that was never interrupted.
"""

import hashlib
import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.journal import Journal
from kryloset.dataset.layout import grid_group
from kryloset.dataset.ragged import append_rows
from kryloset.errors import DataError, KrylosetError
from kryloset.krylov import SequenceSolver, SolverState, solve_or_escalate
from kryloset.problems import Discretisation, Family, Instance, family_file, load_family
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.stages.inputs import open_input, read_instance

logger = logging.getLogger(__name__)

#: What a solve counts, and the parts that it times (`SolveResult`).
COUNTED = ("iterations", "operator_applications", "preconditioner_applications")
TIMED = ("setup", "rebuild", "iterate")


@dataclass
class Evidence:
    """The solver as a family sees it, and what it took to solve one instance.

    Calling it solves A x = b, escalating where the configured method fails. The true
    residual is the largest of the linear systems, or that of the nonlinear equation.
    """

    solver: SequenceSolver
    state: SolverState
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (*COUNTED, "systems", "escalations", "reason", "recycled"), 0
        )
    )
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMED, 0.0))
    true_residual: float = 0.0

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        return self.solver.tolerance

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Solve one system and add its evidence."""
        state = self.state.for_operator(operator)
        result, self.state, attempts = solve_or_escalate(self.solver, operator, rhs, state)
        for attempt in attempts:
            logger.warning("escalated: %s", attempt)
        for key in COUNTED:
            self.counts[key] += getattr(result, key)
        self.counts["systems"] += 1
        self.counts["escalations"] += len(attempts)
        self.counts["reason"] = int(result.reason)
        self.counts["recycled"] |= int(result.recycled)
        for key in TIMED:
            self.seconds[key] += getattr(result, f"seconds_{key}")
        self.true_residual = max(self.true_residual, result.true_residual)
        return result.solution


def run(
    config: DatasetConfig,
    name: str,
    *,
    parameters: Path,
    order: Path,
    chunk: str,
    output: Path,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> None:
    """Solve the instances of one chunk in their sorted order.

    Writes `/instance`, `/fields/<name>`, `/solver/<quantity>` and
    `/seconds/<part>`, a row an instance in solving order. Fields are all that a
    solution consists of, also on further grids: `/fields/grid_<points>/<name>`. The
    mesh that instances share is in `/mesh/<name>`.

    Args:
        config: The dataset.
        name: Its name.
        parameters: `parameters.h5`.
        order: `order.h5`.
        chunk: Which one, as in `1-of-2`.
        output: The file to write.
        comm: Processes that share each solve. Rank 0 writes.

    Raises:
        DataError: An input is missing, damaged or of another configuration; or an instance
            is none of the problem.
        KrylosetError: An instance could not be solved to the tolerance; named, and not stored.
    """
    family = load_family(config)
    with open_input(order, config, name, "permutation") as file:
        instances = chunk_instances(file, chunk)
    with open_input(parameters, config, name, "parameters") as file:
        if comm.rank > 0:
            _solve_rest(config, family, file, instances, chunk, comm, None, output)
            return
        work = fingerprint(file, config, family, instances, comm.size)
        with Journal(working_folder(output), work) as journal:
            # Only a job that had to wait for another one finds the chunk done.
            if _is_done(output, work):
                logger.info("chunk %s was solved while this job waited for it", chunk)
                comm.bcast(len(instances))
            else:
                _solve_rest(config, family, file, instances, chunk, comm, journal, output)
                attributes = {
                    "config": dump_dataset(name, config),
                    "code": stage_identity("solve", config),
                    "fingerprint": work,
                }
                ragged = {f"fields/{v.name}" for v in family.unknowns if v.ragged}
                write_chunk(output, journal, attributes, len(instances), ragged)
            journal.discard()


def chunk_instances(order: h5py.File, chunk: str) -> NDArray[np.int64]:
    """Return the drawn numbers of a chunk's instances, in solving order.

    Raises:
        DataError: `order` was divided into another number of chunks.
    """
    match = re.fullmatch(r"(\d+)-of-(\d+)", chunk)
    if match is None:
        raise DataError(f"chunk {chunk!r} is not of the form 1-of-2")
    number, total = map(int, match.groups())
    bounds = order["bounds"][:]
    if total != len(bounds) - 1 or not 1 <= number <= total:
        raise DataError(
            f"chunk {chunk}: {order.filename} is divided into {len(bounds) - 1} chunks; "
            "sort again with the number of chunks that you solve"
        )
    return np.asarray(order["permutation"][bounds[number - 1] : bounds[number]])


def working_folder(output: Path) -> Path:
    """Return the folder of a chunk's journal and recycled space while it is being solved."""
    return output.with_name(output.name + ".working")


def fingerprint(
    parameters: h5py.File,
    config: DatasetConfig,
    family: Family,
    instances: NDArray[np.int64],
    processes: int,
) -> str:
    """Return a digest of all that the solutions of a chunk depend on, bit for bit."""
    digest = hashlib.sha256()
    settings = config.model_dump_json(include={"family", "parameters", "mesh", "solver"})
    digest.update(f"{settings} {stage_identity('solve', config)} {processes}".encode())
    own_file = family_file(config)
    if own_file is not None:
        digest.update(own_file.read_bytes())
    digest.update(instances.tobytes())
    for index in instances:
        for values in read_instance(parameters, family, index).values():
            digest.update(values.tobytes())
    return digest.hexdigest()


def _is_done(output: Path, work: str) -> bool:
    if not output.exists():
        return False
    with h5py.File(output, "r") as file:
        return bool(file.attrs.get("fingerprint") == work)


def _solve_rest(
    config: DatasetConfig,
    family: Family,
    parameters: h5py.File,
    instances: NDArray[np.int64],
    chunk: str,
    comm: MPI.Comm,
    journal: Journal | None,
    output: Path,
) -> None:
    """Solve what the journal, which rank 0 holds, does not have yet."""
    solver = SequenceSolver(**config.solver.model_dump())
    folder = working_folder(output)
    done = comm.bcast(None if journal is None else len(journal))
    if done == len(instances):
        return
    state, done = _restore(folder, solver, done, comm)
    if journal is not None:
        journal.truncate(done)
        if done:
            logger.info(
                "chunk %s resumes at instance %d (position %d)", chunk, instances[done], done
            )
    discretisation = family.discretise(comm)
    quiet = comm.rank > 0
    rest = range(done, len(instances))
    for row in rest if quiet else track(rest, f"solving chunk {chunk}", done=done):
        index = int(instances[row])
        evidence = Evidence(solver, state)
        began = time.perf_counter()
        instance = read_instance(parameters, family, index)
        try:
            solution = _solve(discretisation, instance, evidence)
        except DataError as error:
            raise DataError(f"instance {index}: {error}") from error
        except KrylosetError as error:
            where = f"instance {index} (chunk {chunk}, position {row})"
            raise KrylosetError(f"{where}: {error}") from error
        seconds, state = evidence.seconds, evidence.state
        seconds["assemble"] = time.perf_counter() - began - sum(seconds.values())
        # The first record alone carries the mesh. Every process takes part in gathering it.
        meshes = {} if row else discretisation.meshes()
        if journal is not None:
            fields = solution | _resample(config, discretisation, instance, solution)
            before = int(instances[row - 1]) if row else -1
            record = _record(index, before, fields, evidence)
            journal.append(record | {f"mesh/{name}": values for name, values in meshes.items()})
        _save(folder, state, row + 1, comm)


def _solve(
    discretisation: Discretisation, instance: Instance, evidence: Evidence
) -> dict[str, NDArray[Any]]:
    """Solve one instance; of a nonlinear equation its own residual is the evidence.

    Raises:
        KrylosetError: A linear system or the equation was not solved to the tolerance.
        DataError: The instance is none of the problem.
    """
    solution = discretisation.solve(instance, evidence)
    residual = discretisation.nonlinear_residual()
    if residual is not None:
        evidence.true_residual = residual
        # Not "above", so that a residual that is no number is found too.
        if not residual <= evidence.tolerance:
            raise KrylosetError(
                f"the nonlinear equation was not solved to the tolerance {evidence.tolerance:g}: "
                f"||F(x)|| / ||F(0)|| is {residual:.2e}; check the family's Newton iteration, or "
                "draw milder parameters"
            )
    return solution


def _resample(
    config: DatasetConfig,
    discretisation: Discretisation,
    instance: Instance,
    solution: Instance,
) -> dict[str, NDArray[Any]]:
    """Return parameters and fields on the further grids, by `grid_<points>/<name>`.

    Raises:
        DataError: The discretisation knows its own grid only.
    """
    try:
        return {
            f"{grid_group(points)}/{name}": values
            for points in config.mesh.grids
            for name, values in discretisation.resample(points, instance, solution).items()
        }
    except NotImplementedError as error:
        raise DataError(
            f"mesh.grids {list(config.mesh.grids)}: family {config.family} cannot be evaluated on "
            f"further grids ({error}); leave `grids` empty"
        ) from error


def _record(
    index: int, before: int, fields: dict[str, NDArray[Any]], evidence: Evidence
) -> dict[str, NDArray[Any]]:
    """Return the row of one instance, by the names that it has in the chunk's file."""
    counts = dict(evidence.counts)
    predecessor = before if counts.pop("recycled") else -1
    solver = {**counts, "predecessor": predecessor, "true_residual": evidence.true_residual}
    return {
        "instance": np.asarray(index),
        **{f"fields/{key}": np.asarray(values) for key, values in fields.items()},
        **{f"solver/{key}": np.asarray(value) for key, value in solver.items()},
        **{f"seconds/{key}": np.asarray(value) for key, value in evidence.seconds.items()},
    }


def _state_path(folder: Path, position: int, comm: MPI.Comm) -> Path:
    return folder / f"recycled-{position}-{comm.rank}.npz"


def _save(folder: Path, state: SolverState, position: int, comm: MPI.Comm) -> None:
    """Save the recycled space as it is before `position`; the one before it stays too."""
    state.save(_state_path(folder, position, comm))
    _state_path(folder, position - 2, comm).unlink(missing_ok=True)


def _restore(
    folder: Path, solver: SequenceSolver, done: int, comm: MPI.Comm
) -> tuple[SolverState, int]:
    """Find the last position whose recycled space every process has saved.

    A process may be killed between a journal's record and the space after it,
    and one process may be an instance ahead of another: the last instance is
    then solved again.
    """
    for position in (done, done - 1):
        if position <= 0:
            return solver.init(), 0
        try:
            state = SolverState.load(_state_path(folder, position, comm))
        except KrylosetError:  # missing, or damaged by a power cut
            state = None
        if comm.allreduce(int(state is not None), MPI.MIN) and state is not None:
            return state, position
    logger.warning("%s has no recycled space of its last instance; beginning a new one", folder)
    return solver.init(), done


def write_chunk(
    output: Path, journal: Journal, attributes: dict[str, str], count: int, ragged: set[str]
) -> None:
    """Write the rows of a full journal as one file, whole or not at all.

    Args:
        output: The file.
        journal: Its records become rows; what they have in `mesh/` is of all instances.
        attributes: Attributes of the file.
        count: Number of rows.
        ragged: Arrays of which an instance has rows of its own number.

    Raises:
        DataError: The journal lacks a row.
    """
    if len(journal) != count:
        raise DataError(f"{journal.folder} has {len(journal)} of {count} instances")
    with write_whole(output) as part, create_hdf5(part) as file:
        file.attrs.update(attributes)
        # To find an array in the file takes longer than to write a number to it.
        arrays: dict[str, h5py.Dataset] = {}
        numbers: dict[str, list[NDArray[Any]]] = {}
        for row, record in enumerate(journal.records()):
            for key, values in record.items():
                if key in ragged:
                    append_rows(file, key, values, fletcher32=True)
                    continue
                if key.startswith("mesh/"):
                    file.create_dataset(key, data=values, chunks=True, fletcher32=True)
                    continue
                if values.ndim == 0:
                    numbers.setdefault(key, []).append(values)
                    continue
                if row == 0:
                    arrays[key] = file.create_dataset(
                        key,
                        shape=(count, *values.shape),
                        chunks=(1, *values.shape),
                        dtype=values.dtype,
                        fletcher32=True,
                    )
                arrays[key][row] = values
        for key, column in numbers.items():
            file.create_dataset(key, data=np.stack(column), chunks=True, fletcher32=True)
