# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Is automatic selection as quick as the best of its strategies used throughout?

Every system of a reference sequence is solved by all in turn. Seconds are the processor's, the
first systems, set-ups and trials included. The fixed strategies have solved one system beforehand,
in which libraries are loaded.
"""

from collections.abc import Iterator, Sequence

from mpi4py import MPI

from kryloset.bench.goals import check_names
from kryloset.bench.harness import Contestant, race, warm_up
from kryloset.bench.sequences import KINDS, Operator, make_sequence
from kryloset.bench.tables import Row
from kryloset.krylov import Automatic, probe_structure
from kryloset.krylov.automatic.strategies import choose_strategies, judge_factors
from kryloset.run.comparison import Method

SEQUENCES = ("darcy", "wind")


def measure(kind: str, size: int, count: int, strategies: int, tolerance: float) -> list[Row]:
    """Return a row for automatic selection and one for each of the first strategies."""
    operator = Operator(make_sequence(kind, size, count, drawn=count), MPI.COMM_SELF)
    fixed = choose_strategies(
        probe_structure(operator.mat),
        factors=judge_factors(operator.mat),
        tolerance=tolerance,
        max_iterations=20_000,
    )[:strategies]
    methods = [Method("auto", "auto", Automatic(tolerance))]
    methods += [Method(one.label, one.label, one) for one in fixed]
    warm_up(methods[1:], operator.mat, operator.rhs)
    about = {"sequence": kind, "unknowns": size**2, "systems": count}
    contestants = [
        Contestant(method, range(count), about=about | {"method": method.name})
        for method in methods
    ]
    title = f"measuring {kind}, n = {size**2:,}"
    race(contestants, operator.load, range(count), description=title)
    rows = [one.to_row() for one in contestants]
    fastest = min(row["seconds"] for row in rows[1:])
    return [row | {"to_fastest": row["seconds"] / fastest} for row in rows]


def run(
    *, kind: Sequence[str], size: Sequence[int], count: int, strategies: int, tolerance: float
) -> Iterator[list[Row]]:
    """Measure sequences of several sizes; yield the rows of `measure` for each."""
    check_names("--kind", kind, KINDS)
    for name in kind or SEQUENCES:
        for points in size:
            yield measure(name, points, count, strategies, tolerance)
