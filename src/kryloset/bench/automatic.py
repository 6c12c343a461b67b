# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The automatic choice beside each of its ways used throughout, on the reference sequences.

Every system is solved by all in turn; the one that begins moves on by one each system. Seconds
are the processor's, the first systems, set-ups and trials included. The fixed ways have solved
one system beforehand, in which libraries are loaded.
"""

import time
from statistics import median
from typing import Any

from mpi4py import MPI

from kryloset.bench.sequences import make_sequence
from kryloset.bench.solvers import Operator
from kryloset.krylov import Automatic, SequenceSolver, probe_structure
from kryloset.krylov.automatic.selection import choose_ways, has_sparse_factors
from kryloset.progress import track

KINDS = ("darcy", "wind")

SIZES = (64, 100)
"""Points a side."""

SYSTEMS = 500
"""Those after which the goal is set."""


def measure(kind: str, size: int, count: int, ways: int, tolerance: float) -> list[dict[str, Any]]:
    """Return a row for the automatic choice and one for each of the first ways.

    Args:
        kind: Of the sequence.
        size: Points a side.
        count: Systems.
        ways: How many to compare with, the most promising first.
        tolerance: On the true relative residual.
    """
    systems = make_sequence(kind, size, count, drawn=count)
    operator = Operator(systems, MPI.COMM_SELF)
    structure = probe_structure(operator.mat)
    there = choose_ways(
        structure,
        factors=has_sparse_factors(operator.mat),
        tolerance=tolerance,
        max_iterations=20_000,
    )[:ways]
    solvers: dict[str, Automatic | SequenceSolver] = {"auto": Automatic(tolerance)}
    solvers |= {way.label: way for way in there}
    states: dict[str, Any] = {name: solver.init() for name, solver in solvers.items()}
    times: dict[str, list[float]] = {name: [] for name in solvers}
    iterations = dict.fromkeys(solvers, 0)
    residual = dict.fromkeys(solvers, 0.0)
    for name, solver in solvers.items():
        if name != "auto":
            solver.solve(operator.mat, operator.rhs, states[name])
    names = list(solvers)
    for number in track(range(count), f"measuring {kind}, n = {size**2:,}"):
        operator.fill(number)
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            start = time.process_time()
            result, states[name] = solvers[name].solve(operator.mat, operator.rhs, states[name])
            times[name].append(time.process_time() - start)
            iterations[name] += result.iterations
            residual[name] = max(residual[name], result.true_residual)
    fastest = min(sum(times[name]) for name in names[1:])
    return [
        {
            "sequence": kind,
            "unknowns": size**2,
            "systems": count,
            "method": name,
            "seconds": sum(times[name]),
            "ms": 1e3 * median(times[name]),
            "to_fastest": sum(times[name]) / fastest,
            "iterations": iterations[name] / count,
            "true_residual": residual[name],
        }
        for name in names
    ]


def describe(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| sequence | n | method | s | ms a system | to the fastest | iterations | residual |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['sequence']} | {row['unknowns']:,} | {row['method']} | {row['seconds']:.2f} | "
            f"{row['ms']:.2f} | {row['to_fastest']:.3f} | {row['iterations']:.1f} | "
            f"{row['true_residual']:.1e} |"
        )
    return "\n".join(lines)
