# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Verify a solved chunk from its file, without trusting the process that solved it.

Instances are drawn again and residuals come from DOLFINx's own assembly, in one pass over the file.
`kryloset check` does the same with a dataset, and compares what only the whole can tell.
"""

import json
from pathlib import Path

from mpi4py import MPI

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.given.opening import open_parameters
from kryloset.problems import Discretisation, load_family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.progress import track
from kryloset.run import files
from kryloset.run.checks.contents import Finite, NotConstant, Shapes, Statistics
from kryloset.run.checks.group import read_chunk, read_masks
from kryloset.run.checks.outcome import Check, attempt, examine_groups, require_passed
from kryloset.run.checks.recomputed import Grids, Parameters, Residuals, check_mesh
from kryloset.run.checks.refined import Refined
from kryloset.run.checks.solver_records import check_records
from kryloset.run.checks.verified import Verified
from kryloset.run.inputs import open_order, require_made_from, require_same


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
    family = load_family(config)
    with open_order(order, config) as sorted_, StagedFile(chunk) as file:
        if files.INSTANCE not in file:
            raise DataError(f"{chunk} has no {files.INSTANCE!r}: it is no file of a solved chunk")
        require_made_from(file, sorted_)
        require_same(file, config, "solve")
        discretisation = discretise(family, MPI.COMM_SELF)
        residuals = Residuals(discretisation, config.solver.tolerance)
        statistics = Statistics(family, config)
        wanted = config.refinement.instances
        refined = Refined(family, config.solver.tolerance, wanted)
        numbers = file.array(files.INSTANCE)
        given = open_parameters(config, family)
        groups = read_chunk(file, family, config.mesh.grids)
        checks = examine_groups(
            track(groups, f"verifying {chunk.name}", len(numbers), amount=len),
            {
                "shapes": Shapes(family),
                "finite": Finite(family),
                "not constant": NotConstant(family),
                "statistics": statistics,
                "parameters": Parameters(
                    family, config.seed, sorted_.array(files.DRAWN), given=given
                ),
                "residuals": residuals,
                "grids": Grids(discretisation),
                **({"refinement": refined} if wanted else {}),
            },
        )
        checks.append(attempt("solver", lambda: _solver(file, residuals, config)))
        checks.append(attempt("mesh", lambda: _mesh(file, discretisation)))
        require_passed(chunk, checks)
        found = _evidence(config, file, checks, residuals, statistics, refined)
    found.write(output)
    return found


def _solver(file: StagedFile, residuals: Residuals, config: DatasetConfig) -> str:
    """Check the solve records of a chunk."""
    told = {name: file.array(files.solver(name)) for name in SOLVER if files.solver(name) in file}
    strategies = len(json.loads(file.attrs[files.STRATEGIES]))
    numbers = file.array(files.INSTANCE)
    return check_records(told, numbers, residuals.found, config.solver.tolerance, strategies)


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
) -> Verified:
    assert residuals.worst is not None
    names = tuple(check.name for check in checks)
    count, worst = len(residuals.found), residuals.worst
    return Verified(
        file.whole_seal, file.checksums(), count, names, worst, config.splits, statistics.moments,
        refined.found,
    )  # fmt: skip
