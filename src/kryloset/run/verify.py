# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Verify a solved chunk from its file, without trusting the process that solved it.

Instances are drawn again and residuals come from DOLFINx's own assembly, in one pass over the file.
`kryloset check` does the same with a dataset, and compares what only the whole can tell.
"""

import json
from functools import partial
from pathlib import Path

from mpi4py import MPI

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.origin import parse_earlier
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.given.opening import open_parameters
from kryloset.problems import Discretisation, Family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.populations import load_populations, population_of
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.run import files
from kryloset.run.checks.contents import Finite, NotConstant, Shapes, Statistics
from kryloset.run.checks.group import read_chunk, read_masks
from kryloset.run.checks.kept import OnlySolved, check_kept
from kryloset.run.checks.outcome import Check, Content, attempt, examine_groups, require_passed
from kryloset.run.checks.recomputed import Grids, Parameters, Residuals, check_mesh
from kryloset.run.checks.refined import Refined
from kryloset.run.checks.rounding import find_rounded
from kryloset.run.checks.solver_records import check_records
from kryloset.run.checks.verified import Verified
from kryloset.run.inputs import open_order, require_made_from, require_same
from kryloset.run.keeping import kept_grids
from kryloset.run.redrawn import read_redrawn


def run(config: DatasetConfig, *, order: Path, chunk: Path, output: Path) -> Verified:
    """Check the instances of a chunk, and compute their part of the statistics.

    Args:
        config: The dataset.
        order: `order.h5`, which has the digests of the instances as they were drawn.
        chunk: The chunk's file.
        output: The JSON file to write, once every check passed.

    Returns:
        What is written.

    Raises:
        DataError: The chunk is missing, damaged or of another configuration; or checks failed, and
            the message names them all.
    """
    populations = load_populations(config)
    with open_order(order, config) as sorted_, StagedFile(chunk) as file:
        if files.INSTANCE not in file:
            raise DataError(f"{chunk} has no {files.INSTANCE!r}: it is no file of a solved chunk")
        require_made_from(file, sorted_)
        require_same(file, config, "solve")
        numbers = file.array(files.INSTANCE)
        population = population_of(populations, int(numbers[0]))
        family = population.family
        discretisation = discretise(family, MPI.COMM_SELF)
        rounded = find_rounded(config, family)
        residuals = Residuals(lambda number: discretisation, config.solver.tolerance, rounded)
        statistics = Statistics(family, config)
        wanted = config.refined
        refined = Refined(family, config.solver.tolerance, wanted)
        given = open_parameters(config, family)
        drawn, failures = read_redrawn(sorted_, [file], config, [population])
        groups = read_chunk(file, family, config.mesh.grids)
        contents: dict[str, Content] = {
            "shapes": Shapes(family),
            "finite": Finite(family),
            "not constant": NotConstant(family),
            "statistics": statistics,
            "parameters": Parameters(
                [population], config.seed, drawn, given, [*failures], config.storage.precision
            ),
            "residuals": residuals,
            "grids": Grids(lambda number: discretisation, rounded),
            **({"refinement": refined} if wanted else {}),
        }
        kept, grids = int(file.attrs.get(files.KEPT, 0)), kept_grids(sorted_, config)
        trusted = 0 if _made_by_other_code(sorted_, family) else kept
        if trusted:
            new = len(grids) <= len(config.mesh.grids)
            again = {"statistics", "refinement", *(["shapes", "finite", "grids"] if new else [])}
            contents |= {
                name: OnlySolved(content, trusted)
                for name, content in contents.items()
                if name not in again
            }
        checks = examine_groups(
            track(groups, f"verifying {chunk.name}", len(numbers), amount=len), contents
        )
        checks.append(attempt("solver", lambda: _solver(file, residuals, config, kept, trusted)))
        checks.append(attempt("mesh", lambda: _mesh(file, discretisation)))
        if kept:
            work = partial(check_kept, file, sorted_, family, config, grids, kept)
            checks.append(attempt("kept", work))
        require_passed(chunk, checks)
        found = _evidence(config, file, checks, residuals, statistics, refined, trusted)
    found.write(output)
    return found


def _made_by_other_code(order: StagedFile, family: Family) -> bool:
    """Return whether kept instances were solved by other code, whose results are checked again."""
    runs = (
        parse_earlier(order.text(files.EARLIER), str(order.path)) if files.EARLIER in order else ()
    )
    return any(run.code.get("solve") != stage_identity("solve", family) for run in runs)


def _solver(
    file: StagedFile, residuals: Residuals, config: DatasetConfig, kept: int, trusted: int
) -> str:
    """Check the solve records of a chunk, but for those of instances whose checks are trusted."""
    told = {name: file.array(files.solver(name)) for name in SOLVER if files.solver(name) in file}
    strategies = len(json.loads(file.attrs[files.STRATEGIES]))
    numbers = file.array(files.INSTANCE)
    mine = numbers >= trusted
    told = {name: column[mine] for name, column in told.items()}
    tolerance = config.solver.tolerance
    return check_records(told, numbers[mine], residuals.found, tolerance, strategies, kept)


def _mesh(file: StagedFile, discretisation: Discretisation) -> str:
    """Check the mesh and the masks that the instances of a chunk share."""
    masks, meshes = read_masks(file), file.arrays(files.MESH)
    own = files.field(INSIDE.name) in file
    return check_mesh(discretisation, meshes, masks, own_masks=own)


def _evidence(
    config: DatasetConfig,
    file: StagedFile,
    checks: list[Check],
    residuals: Residuals,
    statistics: Statistics,
    refined: Refined,
    trusted: int,
) -> Verified:
    kept = file.array(files.INSTANCE) < trusted
    quantity = "stored_residual" if config.storage.rounds else "true_residual"
    told = file.array(files.solver(quantity))[kept]
    worst = max([*residuals.found, *told.tolist()])
    names = tuple(check.name for check in checks)
    return Verified(
        file.whole_seal, file.checksums(), len(kept), len(told), names, worst, config.splits,
        statistics.moments, refined.found,
    )  # fmt: skip
