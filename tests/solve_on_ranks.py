# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve instance 0 of a family on any number of processes, and store its arrays.

As a program: `solve_on_ranks.py '{"family": ..., ...}' output.npz`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from directly import solve_directly
from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.sampling import generator
from ranks import run_on_ranks


def solve_on_ranks(ranks: int, dataset: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Return the stored arrays of instance 0 and of the mesh, solved on several processes."""
    output = folder / f"{ranks}.npz"
    run_on_ranks(ranks, Path(__file__), json.dumps(dataset), output)
    with np.load(output) as stored:
        return dict(stored)


def main() -> None:
    """Solve and store."""
    family = load_family(DatasetConfig.model_validate(json.loads(sys.argv[1])))
    discretisation = family.discretise(MPI.COMM_WORLD)
    stored = discretisation.solve([family.draw(generator(0, 0))], solve_directly)[0]
    meshes = discretisation.meshes()
    if MPI.COMM_WORLD.rank == 0:
        np.savez(sys.argv[2], **stored, **meshes)


if __name__ == "__main__":
    main()
