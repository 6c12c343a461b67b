# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure GCRO-DR beside PETSc's own methods in one run: the table of docs/recycling.md.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/krylov/measure.py --preconditioner ilu
"""

import argparse
from time import process_time

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
from systems import refill, sequence, to_mat, to_vec

from kryloset.krylov import GCRODR, SequenceSolver


def measure(name: str, solver: SequenceSolver, systems: list, carry: bool = True) -> None:
    """Print one row: means over the systems after the first, processor time in ms."""
    mat = to_mat(systems[0])
    b = to_vec(mat, np.full(systems[0].shape[0], 1.0))
    state, rows = solver.init(), []
    for system in systems:
        refill(mat, system)
        start = process_time()
        result, state = solver.solve(mat, b, state if carry else state.without_space())
        rows.append(
            (
                result.iterations,
                result.operator_applications,
                result.preconditioner_applications,
                1e3 * (process_time() - start),
                result.true_residual,
            )
        )
    show(name, rows)


def show(name: str, rows: list[tuple[float, ...]]) -> None:
    """Print a row of the table."""
    its, ops, pcs, ms, residuals = np.array(rows[1:]).T
    print(
        f"| {name} | {its.mean():.1f} | {ops.mean():.1f} | {pcs.mean():.1f} | "
        f"{np.median(ms):.1f} | {1e3 * np.median(ms / its):.0f} | {residuals.max():.1e} |"
    )


def measure_right(preconditioner: str, systems: list) -> None:
    """Print the row of GCRO-DR(40,20) from the right, recycled in the variable M x."""
    mat = to_mat(systems[0])
    b = to_vec(mat, np.full(systems[0].shape[0], 1.0))
    x, context = b.duplicate(), GCRODR(40, 20)
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setType("python")
    ksp.setPythonContext(context)
    ksp.setPCSide(PETSc.PC.Side.RIGHT)
    ksp.getPC().setType(preconditioner)
    ksp.setTolerances(rtol=1e-8)
    rows = []
    for system in systems:
        refill(mat, system)
        start = process_time()
        ksp.solve(b, x)
        seconds = process_time() - start
        its, counts = ksp.getIterationNumber(), context.counts
        residual = ksp.getResidualNorm() / b.norm()
        rows.append((its, counts.operator, counts.preconditioner, 1e3 * seconds, residual))
    show("GCRO-DR(40,20) from the right", rows)


def main() -> None:
    """Measure one sequence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=100, help="points a side")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--wind", type=float, default=0.0, help="0 gives symmetric systems")
    parser.add_argument("--preconditioner", default="ilu")
    args = parser.parse_args()
    systems = sequence(args.size, args.count, args.wind)
    pc = args.preconditioner
    print("| method | iterations | A | M⁻¹ | ms a system | µs an iteration | residual |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    measure("GCRO-DR(40,20)", SequenceSolver("gcrodr", pc), systems)
    measure_right(pc, systems)
    measure("GCRO-DR(40,10)", SequenceSolver("gcrodr", pc, recycle=10), systems)
    measure("GMRES-DR(40,20): nothing carried", SequenceSolver("gcrodr", pc), systems, False)
    measure("GMRES(40)", SequenceSolver("gmres", pc), systems)
    measure("GMRES(200)", SequenceSolver("gmres", pc, restart=200), systems)
    if args.wind == 0:
        measure("CG", SequenceSolver("cg", "icc" if pc == "ilu" else pc), systems)
    measure("GMRES(40), GAMG", SequenceSolver("gmres", "gamg"), systems)
    measure("LU", SequenceSolver("direct"), systems)


if __name__ == "__main__":
    main()
