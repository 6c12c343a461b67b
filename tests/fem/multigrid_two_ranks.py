# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve three instances with geometric multigrid on any number of processes, and store them.

As a program: `multigrid_two_ranks.py '{"family": ..., ...}' output.npz`.
"""

import json
import sys

from mpi4py import MPI

import numpy as np

from kryloset.config import DatasetConfig
from kryloset.krylov import SequenceSolver
from kryloset.problems import load_family
from kryloset.sampling import generator


class Solve:
    """Solves each system with CG and geometric multigrid."""

    tolerance = 1e-10

    def __init__(self) -> None:
        """Begin."""
        self.solver = SequenceSolver("cg", "multigrid", tolerance=self.tolerance)
        self.state = self.solver.init()
        self.iterations: list[int] = []

    def __call__(self, operator, rhs):
        """Return x."""
        result, self.state = self.solver.solve(operator, rhs, self.state)
        assert result.converged
        self.iterations.append(result.iterations)
        return result.solution


def main(dataset: str, output: str) -> None:
    """Solve and store."""
    family = load_family(DatasetConfig(**json.loads(dataset)))
    discretisation, solve = family.discretise(MPI.COMM_WORLD), Solve()
    (field,) = (field.name for field in family.fields)
    solutions = []
    for number in range(3):
        solution = discretisation.solve([family.draw(generator(0, number))], solve)[0]
        solutions.append(solution.get(field))
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, solutions=np.stack(solutions), iterations=solve.iterations)


if __name__ == "__main__":
    main(*sys.argv[1:])
