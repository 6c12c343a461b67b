# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve one chunk of the sorted instances, recycling from each group to the next.

Neighbours in the order are solved in groups, as many at once as solver and discretisation take.
Instances that are kept from an earlier dataset are copied after them (`kryloset.run.kept`). The
stage may be killed at any moment, and resumes where it stopped: each group is appended to a journal
once it is solved and verified, and the state of the solver is saved beside the journal every
second. The resumed run gives the same numbers, bit for bit, as one that was never interrupted,
unless measured seconds choose the solver.
"""

import json
import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.atomic import link_whole
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.failures import Failures, dump_failures
from kryloset.dataset.journal import Journal
from kryloset.fem.discretise import discretise
from kryloset.given.opening import open_parameters
from kryloset.krylov import AutomaticState, ResumableSolver, State
from kryloset.krylov.names import Lanes
from kryloset.problems import Discretisation, Family, Instance
from kryloset.problems.checks.stored import check_masks, check_stored
from kryloset.problems.populations import load_populations, population_of
from kryloset.progress import track
from kryloset.provenance import petsc_version, stage_identity
from kryloset.run import files
from kryloset.run.checkpoint import Checkpoints, working_folder
from kryloset.run.checks.rounding import as_stored, find_rounded
from kryloset.run.chunk import (
    Chunk,
    Encoder,
    fingerprint,
    record_shared,
    record_solves,
    recorded_failures,
    write_chunk,
)
from kryloset.run.copying import copy_kept
from kryloset.run.draw import Drawn
from kryloset.run.further_grids import evaluate_further
from kryloset.run.inputs import open_order, read_failures
from kryloset.run.keeping import open_kept
from kryloset.run.solve_record import Solution, solve_group
from kryloset.run.solver import make_solver, read_selection, strategy_labels

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig,
    name: str,
    *,
    order: Path,
    chunk: str,
    output: Path,
    solved: Path | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> None:
    """Solve the instances of one chunk in their sorted order.

    The file has the arrays that `kryloset.run.files` lists for a chunk, with a row for each
    instance in solving order. Fields include unknowns, and values on further grids:
    `/fields/grid_<points>/<name>`.

    Args:
        config: The dataset.
        name: Its name.
        order: `order.h5`.
        chunk: Name of the chunk, such as `1-of-2`.
        output: The file to write.
        solved: The file that the chunk may have been solved to by a training (`train_online`). If
            it is there, and of the same work, it gets a second name.
        comm: Processes that share each solve. Rank 0 writes.

    Raises:
        DataError: The order is missing, damaged or of another configuration; the parameters of an
            instance do not describe one; or the recorded selection to replay is missing.
        FamilyError: An instance that is drawn again is not the one that was sorted.
        KrylosetError: An instance, which is named, was not solved to the tolerance and is not
            stored, nor another one in its place; or the operator is not what the family declares.
    """
    populations = load_populations(config)
    family = populations[0].family
    settings = config.solver.model_copy(update={"lanes": _width(config, family, comm)})
    solver = make_solver(settings, family, read_selection(settings, chunk))
    with open_order(order, config) as sorted_, ExitStack() as stack:
        kept = stack.enter_context(open_kept(sorted_, config, family)) if comm.rank == 0 else None
        part = Chunk.of(sorted_, chunk, output, comm.bcast(kept.count if kept else 0))
        population = population_of(populations, int(part.instances[0]))
        failures = Failures(
            config.failures_allowed, read_failures(sorted_), leave_out=config.leaves_out
        )
        given = open_parameters(config, family)
        precision = config.storage.precision
        drawn = Drawn([population], config.seed, sorted_, given, failures, precision)
        job = _Job(config, population.family, solver, drawn, part, comm)
        if comm.rank > 0:
            job.solve_rest(None)
            return
        work = fingerprint(part, sorted_, config, family, comm.size)
        with Journal(working_folder(output), work, len(part.instances)) as journal:
            # Only a job that waited for another one finds the chunk solved.
            if part.is_solved(work):
                logger.info("chunk %s was solved while this job waited for it", chunk)
                comm.bcast(None)
            elif solved is not None and replace(part, output=solved).is_solved(work):
                logger.info("chunk %s was solved for a training, to %s", chunk, solved)
                comm.bcast(None)
                link_whole(solved, output)
            else:
                state = job.solve_rest(journal)
                labels = strategy_labels(settings, state)
                attributes: dict[str, str | float] = {
                    files.CONFIG: dump_dataset(name, config),
                    files.CODE: stage_identity("solve", family),
                    files.DRAWN: sorted_.seal(files.DRAWN),
                    files.FINGERPRINT: work,
                    files.PETSC: petsc_version(),
                    files.STRATEGIES: json.dumps(labels),
                }
                if kept is not None:
                    attributes[files.KEPT] = kept.count
                    attributes[files.STRATEGIES] = json.dumps([*labels, *kept.ways()])
                    copy_kept(part, journal, kept, config, family, len(labels))
                selection = state.recording.to_json() if isinstance(state, AutomaticState) else None
                write_chunk(part, journal, family, attributes, selection)
            journal.discard()


@dataclass(frozen=True)
class _Job:
    """The solve of one chunk by one or several processes.

    Attributes:
        config: The dataset.
        family: The family of the chunk.
        solver: Its solver.
        drawn: Its instances.
        chunk: The chunk.
        comm: The processes.
    """

    config: DatasetConfig
    family: Family
    solver: ResumableSolver[Any]
    drawn: Drawn
    chunk: Chunk
    comm: MPI.Comm

    @cached_property
    def _alone(self) -> Discretisation:
        """The discretisation on one process, which computes residuals of what is stored."""
        return discretise(self.family, MPI.COMM_SELF)

    def solve_rest(self, journal: Journal | None) -> State:
        """Solve the groups that rank 0's journal lacks; return the last state. Collective."""
        initial: State = self.solver.init()
        done = self.comm.bcast(None if journal is None else len(journal))
        if done is None:  # Rank 0 found that another job has solved the chunk.
            return initial
        checkpoints = Checkpoints(working_folder(self.chunk.output), self.comm)
        state: State
        state, done = checkpoints.restore(self.solver, done)
        lanes = _width(self.config, self.family, self.comm)
        discretisation = discretise(self.family, self.comm, lanes)
        size = discretisation.lanes
        groups = range(math.ceil(len(self.chunk) / size))
        if journal is not None:
            journal.truncate(done)
            encoder = Encoder(self.family, journal, self.config.storage)
            if 0 < done < len(groups):
                logger.info(
                    "chunk %s resumes at instance %d (position %d)",
                    self.chunk.name, self.chunk.solved[done * size], done * size,
                )  # fmt: skip
        rounded = find_rounded(self.config, self.family)
        failures = self.drawn.failures
        failures.update(self.comm.bcast(None if journal is None else recorded_failures(journal)))
        checkpoints.start_clock()
        rest = groups[done:]
        bar = track(
            rest, f"solving chunk {self.chunk.name}", len(self.chunk), done=done * size,
            amount=lambda number: len(self.chunk.group(number, size)),
        )  # fmt: skip
        for number in rest if journal is None else bar:
            indices = self.chunk.group(number, size).tolist()
            instances, digests = self.drawn.digested(indices)
            known = len(failures)
            solutions, records, state = solve_group(
                discretisation, self.solver, state, list(zip(indices, instances, strict=True)),
                self.drawn.redraw,
            )  # fmt: skip
            failed = failures.since(known)
            if failed:  # Others took the place of some, or some are left out.
                instances, digests = self.drawn.digested(indices)
            # Only the first record has what instances share, which is gathered by all processes.
            shared = {} if number else record_shared(discretisation)
            if journal is not None:
                fields = [
                    stored_fields(
                        self.config, self.family, discretisation, instance, solution,
                        check=number == done and place == 0,
                    )
                    for place, (instance, solution) in enumerate(
                        zip(instances, solutions, strict=True)
                    )
                ]  # fmt: skip
                record: dict[str, NDArray[Any] | Encoded] = {}
                if records:
                    before = self.chunk.before(number * size, failures.left_out)
                    record |= record_solves(before, records)
                    record |= encoder.rows(instances, fields, digests)
                if records and rounded:
                    stored = [as_stored(solution, rounded) for solution in solutions]
                    record[files.solver("stored_residual")] = np.array(
                        self._alone.residuals([*zip(instances, stored, strict=True)])
                    )
                if failed:
                    record[files.FAILURES] = np.array(dump_failures(failed))
                journal.append(record | shared, len(records))
            checkpoints.save_if_due(state, number + 1, last=number + 1 == len(groups))
        return state


def _width(config: DatasetConfig, family: Family, comm: MPI.Comm) -> Lanes:
    """Return how many instances are solved together at most."""
    # Rows of the journal have one shape.
    ragged = any(variable.ragged for variable in family.unknowns)
    return 1 if ragged or comm.size > 1 else config.solver.width


def stored_fields(
    config: DatasetConfig,
    family: Family,
    discretisation: Discretisation,
    instance: Instance,
    solution: Solution,
    *,
    check: bool,
) -> Solution:
    """Return everything that is stored of a solution, including its values on further grids.

    Args:
        config: The dataset.
        family: Its family.
        discretisation: The discretisation that solved the instance.
        instance: The parameters.
        solution: Fields and unknowns, as the discretisation returned them.
        check: Whether arrays are compared with what the family declares.

    Raises:
        DataError: The discretisation cannot be evaluated on further grids.
        FamilyError: An array is not what the family declares.
    """
    if check:
        check_stored(family, solution)
        check_masks(family, discretisation.masks())
    grids = config.mesh.grids
    return solution | evaluate_further(
        grids, family, discretisation, instance, solution, check=check
    )
