# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve a sequence on however many ranks there are and save what came out."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from systems import refill, sequence, to_mat, to_vec

from kryloset.krylov import SequenceSolver, SolverState


def main(folder: Path) -> None:
    comm = MPI.COMM_WORLD
    b = np.random.default_rng(5).standard_normal(400)
    found = {}
    for method, preconditioner in (
        ("gcrodr", "jacobi"),
        ("gcrodr", "none"),
        ("gcrodr", "ilu"),
        ("gcrodr", "icc"),
        ("gmresdr", "jacobi"),
        ("gmres", "jacobi"),
        ("rcg", "jacobi"),
        ("rcg", "icc"),
        ("rminres", "jacobi"),
        ("rbicgstab", "none"),
        ("bicgstab", "jacobi"),
        ("direct", "none"),
        ("direct", "cholesky"),
        ("cg", "icc"),
        ("bicgstab", "ilu"),
        ("cg", "cholesky"),
        ("gmres", "lu"),
    ):
        symmetric = method in ("cg", "rcg", "rminres") or preconditioner == "cholesky"
        systems = sequence(20, 5, wind=0.0 if symmetric else 1.0)
        # A factor that preconditions is an earlier system's.
        owned = method != "direct" and preconditioner in ("lu", "cholesky")
        refresh = (0, 3) if owned else "always"
        fill = 2 if method in ("cg", "bicgstab") and preconditioner in ("icc", "ilu") else 0
        solver = SequenceSolver(
            method, preconditioner, restart=20, recycle=8, refresh=refresh, fill=fill
        )
        mat, state, iterations = to_mat(systems[0], comm), solver.init(), []
        for system in systems:
            refill(mat, system)
            result, state = solver.solve(mat, to_vec(mat, b), state)
            assert result.converged, (method, preconditioner, result.reason.message)
            iterations.append(result.iterations)
        path = folder / f"state-{comm.rank}-of-{comm.size}.npz"
        state.save(path)
        kept = SolverState.load(path).space
        assert (kept is not None) == (method in ("gcrodr", "rcg", "rminres", "rbicgstab"))
        name = f"{method}-{preconditioner}"
        found[f"{name}-iterations"] = np.array(iterations)
        found[f"{name}-solution"] = np.concatenate(comm.allgather(result.solution.getArray()))
    # Systems that share a matrix, the last in the span of the first two.
    mat, rng = to_mat(systems[0], comm), np.random.default_rng(6)
    first, second = rng.standard_normal((2, 400))
    solver = SequenceSolver("direct", guess="projection")
    state, iterations = solver.init(), []
    for values in (first, second, first - 2 * second):
        result, state = solver.solve(mat, to_vec(mat, values), state)
        iterations.append(result.iterations)
    found["guessed-iterations"] = np.array(iterations)
    found["guessed-solution"] = np.concatenate(comm.allgather(result.solution.getArray()))
    if comm.rank == 0:
        np.savez(folder / f"ranks-{comm.size}.npz", **found)


main(Path(sys.argv[1]))
