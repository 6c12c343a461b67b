# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve instances with time steps and Newton steps on any number of ranks."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np

from directly import solve_directly
from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.sampling import generator

PARAMETERS = {"heat": {"modes": 6, "steps": 5}, "reaction_diffusion": {"modes": 6}}


def main(folder: Path) -> None:
    comm = MPI.COMM_WORLD
    found = {}
    for name, parameters in PARAMETERS.items():
        dataset = DatasetConfig(family=name, mesh={"points": 9}, parameters=parameters)
        family = load_family(dataset)
        discretisation = family.discretise(comm)
        for index in (1, 0):
            solution = discretisation.solve([family.draw(generator(0, index))], solve_directly)[0]
        assert bool(solution) == (comm.rank == 0)
        found |= {f"{name} {key}": values for key, values in solution.items()}
    if comm.rank == 0:
        np.savez(folder / f"ranks-{comm.size}.npz", **found)


main(Path(sys.argv[1]))
