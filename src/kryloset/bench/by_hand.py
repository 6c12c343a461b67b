# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset by hand: what a FEniCSx user writes in an afternoon, to compare whole commands with.

    python src/kryloset/bench/by_hand.py --count 1000 --points 64 --output hand.h5

Darcy's equation as in the family `darcy`: -div(k grad u) = 1 on the unit square, u = 0 on its
boundary, k = exp(g) with g of 32 x 32 cosine modes, linear elements. Each of two processes solves
its half, one system after another, by PETSc's own Cholesky, whose symbolic part it keeps, and
writes a file; these are copied into one. Nothing is sorted, checked, recorded or resumed.

It imports nothing of this package, so that it starts as fast as such a script does.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
from numpy.typing import NDArray

MODES = 32


def draw(index: int, cosines: NDArray[np.float64], decay: NDArray[np.float64]) -> NDArray[Any]:
    """Return the permeability k of an instance on the grid."""
    modes = decay * np.random.default_rng((0, index)).standard_normal(decay.shape)
    field = cosines @ modes @ cosines.T
    return np.exp(field / np.std(field))


def solve(first: int, last: int, points: int, path: Path) -> None:
    """Draw and solve the instances from `first` to before `last`, and write them to a file."""
    from mpi4py import MPI  # isort: skip  (PETSc needs it to be first)
    from petsc4py import PETSc

    import h5py
    import ufl
    from dolfinx import fem, mesh
    from dolfinx.fem import petsc

    domain = mesh.create_unit_square(MPI.COMM_SELF, points - 1, points - 1)
    space = fem.functionspace(domain, ("Lagrange", 1))
    trial, test = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(space)
    form = fem.form(ufl.inner(k * ufl.grad(trial), ufl.grad(test)) * ufl.dx)
    domain.topology.create_connectivity(1, 2)
    edges = mesh.exterior_facet_indices(domain.topology)
    boundary = fem.dirichletbc(0.0, fem.locate_dofs_topological(space, 1, edges), space)
    load = fem.form(fem.Constant(domain, 1.0) * test * ufl.dx)
    right = petsc.assemble_vector(load)
    petsc.set_bc(right, [boundary])
    matrix, u = petsc.create_matrix(form), right.duplicate()
    matrix.setOption(PETSc.Mat.Option.SPD, True)
    solver = PETSc.KSP().create(MPI.COMM_SELF)
    solver.setOperators(matrix)
    solver.setType(PETSc.KSP.Type.PREONLY)
    solver.getPC().setType(PETSc.PC.Type.CHOLESKY)
    solver.getPC().setFactorSolverType(PETSc.Mat.SolverType.PETSC)

    grid = np.rint(space.tabulate_dof_coordinates()[:, :2] * (points - 1)).astype(int)
    place = tuple(grid.T)
    modes = np.arange(MODES)
    cosines = np.cos(np.pi * np.outer(np.linspace(0, 1, points), modes))
    decay = 1 / (np.pi**2 * np.add.outer(modes**2, modes**2) + 9)
    decay[0, 0] = 0
    with h5py.File(path, "w") as file:
        shape = (last - first, points, points)
        both = [file.create_dataset(name, shape, np.float64) for name in "ku"]
        for row, index in enumerate(range(first, last)):
            permeability, solution = draw(index, cosines, decay), np.empty(shape[1:])
            k.x.array[:] = permeability[place]
            matrix.zeroEntries()
            petsc.assemble_matrix(matrix, form, bcs=[boundary])
            matrix.assemble()
            solver.solve(right, u)
            solution[place] = u.array
            both[0][row], both[1][row] = permeability, solution


def main() -> None:
    """Solve the parts beside one another, and copy them into one file."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--points", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    ends = [given.count * worker // given.workers for worker in range(given.workers + 1)]
    spans = list(pairwise(ends))
    parts = [given.output.with_suffix(f".{first}.h5") for first, _ in spans]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, spawn) as pool:
        list(pool.map(solve, ends[:-1], ends[1:], repeat(given.points), parts))

    import h5py

    with h5py.File(given.output, "w") as whole:
        for name in "ku":
            whole.create_dataset(name, (given.count, given.points, given.points), np.float64)
        for (first, last), part in zip(spans, parts, strict=True):
            with h5py.File(part) as piece:
                for name in "ku":
                    whole[name][first:last] = piece[name][:]
            part.unlink()


if __name__ == "__main__":
    main()
