# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve one sorted chunk, recycling from each instance to the next.

A chunk can be killed at any moment and taken up again where it stopped: each
instance is appended to a journal once it is solved and verified, and the state of
the solver is saved beside it every second. A resumption goes on from there, and its
numbers are, bit for bit, those of a run that was never interrupted, unless seconds
choose the solver.
"""

import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, SolverConfig, dump_dataset
from kryloset.dataset.atomic import readable
from kryloset.dataset.journal import Journal
from kryloset.dataset.layout import grid_group
from kryloset.dataset.staged import StagedFile, create_staged
from kryloset.dependence import keys_of
from kryloset.errors import DataError, KrylosetError
from kryloset.krylov import (
    Automatic,
    AutomaticState,
    Recording,
    SequenceSolver,
    SolverState,
    solve_or_escalate,
)
from kryloset.problems import Discretisation, Family, Instance, family_files, load_family
from kryloset.problems.checks.guarded import discretise
from kryloset.problems.checks.stored import check_masks, check_resampled, check_stored
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.run.inputs import (
    open_input,
    parameter_path,
    read_instance,
    require_made_from,
    require_same,
)
from kryloset.run.solver import fixed_solver, make_solver

logger = logging.getLogger(__name__)

type Solver = SequenceSolver | Automatic
type State = SolverState | AutomaticState

#: Seconds from one saved state to the next, which is what a kill can cost. A state may be
#: megabytes, where an instance takes milliseconds.
SAVE_EVERY = 1.0

#: What a solve counts, and the parts that it times (`SolveResult`).
COUNTED = ("iterations", "operator_applications", "preconditioner_applications")
TIMED = ("setup", "rebuild", "iterate")


@dataclass
class Evidence:
    """The solver as a family sees it, and what it took to solve one instance.

    Calling it solves A x = b, escalating where the configured method fails. The true
    residual is the largest of the linear systems, or that of the nonlinear equation.
    """

    solver: Solver
    state: State
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (*COUNTED, "systems", "escalations", "reason", "way", "recycled"), 0
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
        solver: Any = self.solver
        state = self.state.for_operator(operator)
        result, self.state, attempts = solve_or_escalate(solver, operator, rhs, state)
        if isinstance(self.state, AutomaticState):
            self.counts["way"] = self.state.choices[-1]
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
    `/seconds/<part>`, a row an instance in solving order. The attribute `ways` names the
    numbers of `/solver/way`, and where ways or refreshes were chosen `/choices` has
    them as `Recording.to_json` does. Fields are all that a
    solution consists of, also on further grids: `/fields/grid_<points>/<name>`. The
    mesh that instances share is in `/mesh/<name>`, the masks of its domain in `/mask/grid` and
    `/mask/grid_<points>`.

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
            is none of the problem. Recorded choices that are to be replayed are missing.
        KrylosetError: An instance could not be solved to the tolerance; named, and not stored.
            The operator is not what the family declares.
    """
    family = load_family(config)
    solver = make_solver(config.solver, family, read_choices(config.solver, chunk))
    with (
        open_input(order, config, name, "permutation") as sorted_,
        open_input(parameters, config, name, "parameters") as file,
    ):
        require_same(file, config, "sample")
        require_made_from(sorted_, file)
        instances = chunk_instances(sorted_, chunk)
        if comm.rank > 0:
            _solve_rest(config, family, solver, file, instances, chunk, comm, None, output)
            return
        work = fingerprint(file, config, family, instances, comm.size)
        with Journal(working_folder(output), work) as journal:
            # Only a job that had to wait for another one finds the chunk done.
            if _is_done(output, work):
                logger.info("chunk %s was solved while this job waited for it", chunk)
                comm.bcast(None)
            else:
                state = _solve_rest(
                    config, family, solver, file, instances, chunk, comm, journal, output
                )
                attributes = {
                    "config": dump_dataset(name, config),
                    "code": stage_identity("solve", config),
                    "parameters": file.digest("parameters"),
                    "fingerprint": work,
                    "ways": json.dumps(
                        # A family may solve without the solver that it is given.
                        [way.label for way in state.ways] or ["none"]
                        if isinstance(state, AutomaticState)
                        else [fixed_solver(config.solver).label]
                    ),
                }
                choices = state.recording.to_json() if isinstance(state, AutomaticState) else None
                ragged = {f"fields/{v.name}" for v in family.unknowns if v.ragged}
                write_chunk(output, journal, attributes, len(instances), ragged, choices)
            journal.discard()


def chunk_instances(order: StagedFile, chunk: str) -> NDArray[np.int64]:
    """Return the drawn numbers of a chunk's instances, in solving order.

    Raises:
        DataError: `order` was divided into another number of chunks.
    """
    match = re.fullmatch(r"(\d+)-of-(\d+)", chunk)
    if match is None:
        raise DataError(f"chunk {chunk!r} is not of the form 1-of-2")
    number, total = map(int, match.groups())
    bounds = order.array("bounds")
    if total != len(bounds) - 1 or not 1 <= number <= total:
        raise DataError(
            f"chunk {chunk}: {order.path} is divided into {len(bounds) - 1} chunks; "
            "sort again with the number of chunks that you solve"
        )
    return np.asarray(order.array("permutation")[bounds[number - 1] : bounds[number]])


def read_choices(config: SolverConfig, chunk: str) -> Recording | None:
    """Return the choices that a chunk is to follow; None where seconds decide.

    Raises:
        DataError: The file is missing, damaged, or of another division into chunks.
    """
    if config.replayed is None:
        return None
    try:
        recorded = json.loads(config.replayed.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"solver.policy: {config.replayed} cannot be read: {error}; name the copy of a "
            "run's choices.json"
        ) from None
    if not isinstance(recorded, dict) or chunk not in recorded:
        raise DataError(
            f"solver.policy: {config.replayed} has no choices for chunk {chunk}: replay those of "
            "a run with the same solver and as many chunks"
        )
    return Recording.from_json(json.dumps(recorded[chunk]))


def working_folder(output: Path) -> Path:
    """Return the folder of a chunk's journal and the solver's states while it is being solved."""
    return output.with_name(output.name + ".working")


def fingerprint(
    parameters: StagedFile,
    config: DatasetConfig,
    family: Family,
    instances: NDArray[np.int64],
    processes: int,
) -> str:
    """Return a digest of all that the solutions of a chunk depend on, bit for bit."""
    digest = hashlib.sha256()
    settings = config.model_dump_json(include=set(keys_of("solve")))
    digest.update(f"{settings} {stage_identity('solve', config)} {processes}".encode())
    for place, file in family_files(config).items():
        digest.update(place.encode() + file.read_bytes())
    if config.solver.replayed is not None:
        digest.update(config.solver.replayed.read_bytes())
    digest.update(instances.tobytes())
    for index in instances:
        for variable in family.parameters:
            path = parameter_path(parameters, variable.name)
            digest.update(parameters.row_seal(path, index))
    return digest.hexdigest()


def _is_done(output: Path, work: str) -> bool:
    if not output.exists():
        return False
    try:
        with StagedFile(output) as file:
            return bool(file.attrs.get("fingerprint") == work)
    except DataError:  # of an earlier version, or damaged
        return False


def _solve_rest(
    config: DatasetConfig,
    family: Family,
    solver: Solver,
    parameters: StagedFile,
    instances: NDArray[np.int64],
    chunk: str,
    comm: MPI.Comm,
    journal: Journal | None,
    output: Path,
) -> State:
    """Solve what the journal, which rank 0 holds, does not have yet; return the last state."""
    folder = working_folder(output)
    done = comm.bcast(None if journal is None else len(journal))
    if done is None:  # rank 0 found that another job has solved it
        return solver.init()
    with readable(folder):
        state, done = _restore(folder, solver, done, comm)
    if done == len(instances):
        return state
    if journal is not None:
        journal.truncate(done)
        if done:
            logger.info(
                "chunk %s resumes at instance %d (position %d)", chunk, instances[done], done
            )
    discretisation = discretise(family, comm)
    quiet = comm.rank > 0
    rest = range(done, len(instances))
    saved = time.monotonic()
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
        # The first record alone carries what instances share. Every process takes part in
        # gathering it.
        shared = {} if row else _shared(discretisation)
        if journal is not None:
            further = _resample(config, discretisation, instance, solution)
            if row == done:
                check_stored(family, solution)
                check_masks(family, discretisation.masks())
                for points, resampled in further.items():
                    check_resampled(family, points, resampled)
            fields = solution | {
                f"{grid_group(points)}/{name}": values
                for points, resampled in further.items()
                for name, values in resampled.items()
            }
            before = int(instances[row - 1]) if row else -1
            record = _record(index, before, fields, evidence)
            journal.append(record | shared)
        # Rank 0 decides, so that all have the same states.
        due = row + 1 == len(instances) or time.monotonic() - saved >= SAVE_EVERY
        if comm.bcast(due):
            with readable(folder):
                _save(folder, state, row + 1, comm)
            saved = time.monotonic()
    return state


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
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return parameters and fields on the further grids, by their points a side and name.

    Raises:
        DataError: The discretisation knows its own grid only.
    """
    try:
        return {
            points: discretisation.resample(points, instance, solution)
            for points in config.mesh.grids
        }
    except NotImplementedError as error:
        raise DataError(
            f"mesh.grids {list(config.mesh.grids)}: family {config.family} cannot be evaluated on "
            f"further grids ({error}); leave `grids` empty"
        ) from error


def _shared(discretisation: Discretisation) -> dict[str, NDArray[Any]]:
    """Return the mesh of all instances, and its masks, by their names in the chunk's file."""
    meshes = {f"mesh/{name}": values for name, values in discretisation.meshes().items()}
    masks = {
        f"mask/{'grid' if points is None else grid_group(points)}": mask
        for points, mask in discretisation.masks().items()
    }
    return meshes | masks


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
    return folder / f"state-{position}-{comm.rank}.npz"


def _saved(folder: Path, comm: MPI.Comm) -> list[int]:
    """Return the positions whose states this process has saved, the last one first."""
    # Others may have put something of theirs beside ours.
    found = (
        re.fullmatch(rf"state-(0|[1-9]\d*)-{comm.rank}\.npz", path.name)
        for path in folder.iterdir()
    )
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _save(folder: Path, state: State, position: int, comm: MPI.Comm) -> None:
    """Save the state as it is before `position`; the one saved before it stays too."""
    state.save(_state_path(folder, position, comm))
    for old in _saved(folder, comm)[2:]:
        _state_path(folder, old, comm).unlink()


def _restore(folder: Path, solver: Solver, done: int, comm: MPI.Comm) -> tuple[State, int]:
    """Find the last position, up to that of the journal, whose state every process has saved.

    What was solved after it is solved again. A process may be killed before it has saved
    the state that the others have: that is why each keeps two.
    """
    kind = AutomaticState if isinstance(solver, Automatic) else SolverState
    mine = set(_saved(folder, comm))
    common = set.intersection(*comm.allgather(mine))
    for position in sorted((p for p in common if p <= done), reverse=True):
        try:
            state = kind.load(_state_path(folder, position, comm))
        except KrylosetError:  # damaged by a power cut
            state = None
        if comm.allreduce(int(state is not None), MPI.MIN) and state is not None:
            return state, position
    # States of positions that come again would be taken for newer ones.
    for position in mine:
        _state_path(folder, position, comm).unlink()
    return solver.init(), 0


def write_chunk(
    output: Path,
    journal: Journal,
    attributes: dict[str, str],
    count: int,
    ragged: set[str],
    choices: str | None = None,
) -> None:
    """Write the rows of a full journal as one file, whole or not at all.

    Args:
        output: The file.
        journal: Its records become rows; what they have in `mesh/` and `mask/` is of all.
        attributes: Attributes of the file.
        count: Number of rows.
        ragged: Arrays of which an instance has rows of its own number.
        choices: What the solver chose, as text.

    Raises:
        DataError: The journal lacks a row.
    """
    if len(journal) != count:
        raise DataError(f"{journal.folder} has {len(journal)} of {count} instances")
    with create_staged(output) as file:
        file.attrs.update(attributes)
        if choices is not None:
            file.text("choices", choices)
        for record in journal.records():
            for key, values in record.items():
                if key in ragged:
                    file.ragged_row(key, values)
                elif key.startswith(("mesh/", "mask/")):
                    file.array(key, values)
                else:
                    file.row(key, values, count)
