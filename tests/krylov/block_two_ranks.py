# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve a sequence of blocks on however many ranks there are and save what came out."""

import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from systems import refill, sequence, to_mat

from kryloset.krylov.block_gcrodr import BlockSolver


def main(folder: Path) -> None:
    comm = MPI.COMM_WORLD
    systems, b = sequence(20, 3, wind=1.0), np.random.default_rng(5).standard_normal((400, 5))
    b[:, 3], b[:, 4] = 0.0, b[:, 0] - b[:, 1]
    found = {}
    for preconditioner in ("none", "jacobi", "ilu", "sor", "gamg"):
        solver = BlockSolver(preconditioner, restart=40, recycle=10)
        mat, state, iterations = to_mat(systems[0], comm), solver.init(), []
        right_hand_sides = PETSc.Mat().createDense(
            (mat.getSizes()[0], b.shape[1]),
            array=np.asfortranarray(b[slice(*mat.getOwnershipRange())]),
            comm=comm,
        )
        for system in systems:
            refill(mat, system)
            result, state = solver.solve(mat, right_hand_sides, state)
            if not result.converged:
                print(preconditioner, result.reason.message)
                comm.Abort(1)
            iterations.append(result.iterations)
        parts = comm.allgather(result.solutions.getDenseArray())
        found[f"{preconditioner}-solutions"] = np.concatenate(parts)
        if preconditioner in ("none", "jacobi"):
            found[f"{preconditioner}-iterations"] = np.array(iterations)
    # Fewer rows than columns on a rank.
    mat = to_mat(systems[0][:3, :3] + 5 * np.eye(3), comm)
    rows = slice(*mat.getOwnershipRange())
    right_hand_sides = PETSc.Mat().createDense(
        (mat.getSizes()[0], 5), array=np.asfortranarray(b[rows]), comm=comm
    )
    result, _ = BlockSolver("none").solve(mat, right_hand_sides, BlockSolver().init())
    assert result.converged
    found["small-solutions"] = np.concatenate(comm.allgather(result.solutions.getDenseArray()))
    if comm.rank == 0:
        np.savez(folder / f"ranks-{comm.size}.npz", **found)


main(Path(sys.argv[1]))
