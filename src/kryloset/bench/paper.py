# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How do the figures of the SKR paper's Tables 1 and 2 come out here?

Wang et al., "Accelerating data generation for neural operators via Krylov subspace recycling",
ICLR 2024. SKR sorts systems by a greedy chain and solves them by GCRO-DR(40,20), recycled. The
paper divides time and iterations of GMRES(40) by those of SKR. Here one run has both, and what
the paper lacks: GMRES-DR(40,20) with nothing recycled, and LU. `docs/measurements/paper.md` and
`paper_systems` say what the systems are.

The paper's processes are blocks here: on p processes PETSc's block Jacobi, additive Schwarz
and SOR act within p blocks of rows, so that one process with p blocks needs their iterations.
All methods stop on the true residual, theirs on that of the preconditioned system.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any, cast

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)

import numpy as np

from kryloset.bench.goals import Goal, check_names, finite
from kryloset.bench.harness import Contestant, Deltas, Look, Turn, race
from kryloset.bench.paper_solvers import LIMIT, Watched, choose_methods, cut
from kryloset.bench.paper_systems import (
    ABLATION,
    BEST_TIME,
    DRAWN,
    PUBLISHED,
    SETS,
    Role,
    Source,
    make_source,
)
from kryloset.bench.tables import COLUMNS, Row, grouped, number, table, tabulate
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver
from kryloset.ordering import greedy_chain
from kryloset.progress import track
from kryloset.run.comparison import Method

PRECONDITIONERS = ("none", "jacobi", "bjacobi", "sor", "asm", "icc", "ilu")
"""Of Table 1, in its order."""

WARM_UP = 2
"""First systems of the chain, solved by what recycles and not counted: they fill its space."""

QUICK_COUNT, QUICK_ABLATION, QUICK_LIMIT = 2, 6, 500
"""Systems counted in a cell of a quick run, those of its Table 2, and its limit."""

ABLATION_SIZE, ABLATION_TOLERANCE, ABLATION_PROCESSES = 98, 1e-5, 10
"""Of Table 2: the tolerance and the processes are those of the published script."""

LOOKS = 10
"""Systems at which delta is looked at, evenly among those of Table 2."""


def measure(
    source: Source,
    methods: Sequence[Method],
    chain: Sequence[int],
    *,
    warm_up: int = 0,
    look: Look | None = None,
    description: str = "",
) -> dict[Method, list[Turn]]:
    """Solve the systems of a sorted chain with all methods, in turns.

    The first `warm_up` systems count for no method; what carries nothing skips them. By method a
    turn a counted system is returned: the same systems for all, in the order in which it met them.
    """
    orders = {"solving": list(chain), "given": [*chain[:warm_up], *sorted(chain[warm_up:])]}
    contestants = [
        Contestant(method, orders[method.order], 0 if method.carries else warm_up)
        for method in methods
    ]
    race(contestants, source.load, range(len(chain)), look=look, description=description)
    return {one.method: one.turns[-len(chain) + warm_up :] for one in contestants}


def make_rows(
    methods: Sequence[Method], turns: Mapping[Method, Sequence[Turn]], **cell: Any
) -> list[Row]:
    """Return the figures of several methods on the same systems, one row each.

    A system that a method gave up counts with the iterations done until then, which are its limit
    where that stopped it: the ratios to it are then lower bounds. `ratio_time`, `ratio_iterations`
    (None for LU, which has none) and `ratio_applications` (of A) say how many times less it is than
    for the first method. The keys of `cell` are in all rows.
    """
    rows: list[Row] = []
    for method in methods:
        found = turns[method]
        row: Row = {
            "method": method.name,
            "label": method.label,
            "systems_counted": len(found),
            "iteration_limit": cast(SequenceSolver, method.solver).max_iterations,
            "median_seconds": median(turn.seconds for turn in found),
            "iterations": fmean(turn.iterations for turn in found),
            "iterations_least": min(turn.iterations for turn in found),
            "iterations_most": max(turn.iterations for turn in found),
            "operator_applications": fmean(turn.operator_applications for turn in found),
            "failures": sum(not turn.converged for turn in found),
            "true_residual": finite(np.max([turn.true_residual for turn in found])),
        }
        rows.append(cell | row)
    first = rows[0]
    for row in rows:
        row["ratio_time"] = first["median_seconds"] / row["median_seconds"]
        iterative = row["method"] != "direct" and row["iterations"] > 0
        row["ratio_iterations"] = first["iterations"] / row["iterations"] if iterative else None
        row["ratio_applications"] = first["operator_applications"] / row["operator_applications"]
    return rows


def measure_set(
    name: str,
    role: Role,
    *,
    size: int,
    count: int,
    limit: int = LIMIT,
    preconditioners: Sequence[str] = PRECONDITIONERS,
) -> list[Row]:
    """Measure the cells of one of `SETS`, three for each preconditioner.

    A method gives up a system after `limit` iterations. The rows of `make_rows` also say what the
    paper has for SKR on the published systems: `published_ratio_time` and
    `published_ratio_iterations`.
    """
    systems, figures = SETS[name][role], PUBLISHED[name]
    source = make_source(systems, size, count + WARM_UP)
    chain = greedy_chain(source.features).tolist()
    tightest, processes = min(figures.tolerances), min(systems.processes, source.unknowns)
    rows = []
    for preconditioner in track(preconditioners, f"measuring {name}, {role} systems"):
        given: dict[str, Any] = {"tightest": tightest, "processes": processes, "limit": limit}
        groups = [choose_methods(preconditioner, t, **given) for t in figures.tolerances]
        # GMRES and LU, which are equal in all groups, run once, to the tightest tolerance.
        every = list(dict.fromkeys(method for group in groups for method in group))
        turns = measure(source, every, chain, warm_up=WARM_UP)
        gmres = every[0]
        runs = list(zip(turns[gmres], cast(Watched, gmres.solver).histories, strict=True))
        for place, (tolerance, group) in enumerate(zip(figures.tolerances, groups, strict=True)):
            cell = make_rows(
                group,
                turns | {gmres: [cut(turn, history, tolerance) for turn, history in runs]},
                table=1,
                set=name,
                systems=role,
                size=source.unknowns,
                preconditioner=preconditioner,
                tolerance=tolerance,
            )
            ratios = {"time": figures.time, "iterations": figures.iterations}
            for row in cell:
                judged = role == "published" and row["method"] == "skr"
                for key, published in ratios.items():
                    figure = published[preconditioner] if judged else None
                    row[f"published_ratio_{key}"] = figure[place] if figure else None
            rows += cell
    return rows


def measure_ablation(*, size: int, count: int) -> list[Row]:
    """Make Table 2: what sorting and recycling do on the published Darcy systems with SOR.

    `delta` is its mean at a few systems before they are solved, 1 where nothing is recycled, None
    where ARPACK finds no wanted space.
    """
    source = make_source(SETS["darcy"]["published"], size, count)
    chain = greedy_chain(source.features).tolist()
    processes = min(ABLATION_PROCESSES, source.unknowns)
    tolerance = ABLATION_TOLERANCE
    chosen = choose_methods("sor", tolerance, tightest=tolerance, processes=processes)
    skr, gmresdr = (method for method in chosen if method.name in ("skr", "gmresdr"))
    unsorted = Method("unsorted", "GCRO-DR(40,20), given order", skr.solver, order="given")
    methods = [gmresdr, unsorted, skr]
    deltas = Deltas(range(0, count, max(1, count // LOOKS)))
    rows = make_rows(
        methods,
        measure(source, methods, chain, look=deltas, description="measuring what sorting does"),
        table=2,
        set="darcy",
        systems="published",
        size=source.unknowns,
        preconditioner="sor",
        tolerance=tolerance,
    )
    means = {one.method.name: deltas.mean(one) for one in deltas.found} | {"gmresdr": 1.0}
    for row in rows:
        row["delta"] = means.get(row["method"])
        for key in ("seconds", "iterations", "delta"):
            row[f"published_{key}"] = ABLATION.get(row["method"], {}).get(key)
    return rows


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare SKR's ratios on the published systems with the paper's, but for a quick run.

    There is a goal for each cell whose iteration ratio is published, and one for the best time.
    """
    full = [row for row in rows if row["iteration_limit"] == LIMIT]
    judged = [row for row in full if row.get("published_ratio_time") is not None]
    cell = ("table", "set", "systems", "preconditioner", "tolerance")
    gmres = grouped([row for row in rows if row["method"] == "gmres"], *cell)
    goals = []
    for row in judged:
        least = row["published_ratio_iterations"]
        if least is not None:
            figure = None if row["failures"] else row["ratio_iterations"]
            reason = _explain(row, gmres[tuple(row[key] for key in cell)][0])
            text = "iterations, GMRES(40) over SKR"
            goals.append(Goal(text, _where(row), figure, least, at_least=True, reason=reason))
    if judged:
        best = max(judged, key=lambda row: (not row["failures"], row["ratio_time"]))
        figure = None if best["failures"] else best["ratio_time"]
        text = "time, GMRES(40) over SKR, in the best cell"
        goals.append(Goal(text, _where(best), figure, BEST_TIME, at_least=True))
    return goals


def _explain(skr: Row, gmres: Row) -> str:
    """Say why an iteration ratio is less than the paper's, from what was measured."""
    count, limit, published = skr["systems_counted"], gmres["iteration_limit"], skr["set"]
    least, most = gmres["iterations_least"], gmres["iterations_most"]
    if skr["failures"]:
        return f"SKR gave up {skr['failures']} of {count} systems"
    if gmres["failures"]:
        return (
            f"a lower bound: GMRES gave up {gmres['failures']} of {count} systems, and "
            f"{limit:,} iterations show {limit / skr['iterations']:.1f} at most"
        )
    if skr["size"] < PUBLISHED[published].size / 2:
        return f"a smaller system than the paper's {PUBLISHED[published].size:,}"
    took = f"GMRES takes {least:,} to {most:,} iterations"
    if most > 2 * least:
        return f"few systems, on which {took}: the paper's mean is over {DRAWN}"
    return f"{took} on all systems, SKR {skr['iterations']:.0f}"


def _where(row: Row) -> str:
    return f"{row['set']}, {row['preconditioner']}, {row['tolerance']:.0e}"


def run(
    *, set: Sequence[str], preconditioner: Sequence[str], count: int | None, quick: bool = False
) -> Iterator[list[Row]]:
    """Make both tables, and yield the rows of a set, or of Table 2. Serial.

    Raises:
        KrylosetError: for a name that is not known, or a number out of range.
    """
    check_names("--set", set, tuple(SETS))
    check_names("--preconditioner", preconditioner, PRECONDITIONERS)
    if count is not None and not 1 <= count <= DRAWN - WARM_UP:
        raise KrylosetError(f"--count must be 1 to {DRAWN - WARM_UP}, got {count}")
    chosen = preconditioner or PRECONDITIONERS
    for name in set or SETS:
        for role, systems in SETS[name].items():
            yield measure_set(
                name,
                role,
                size=systems.quick if quick else systems.size,
                count=count or (QUICK_COUNT if quick else systems.count),
                limit=QUICK_LIMIT if quick else LIMIT,
                preconditioners=chosen,
            )
        if name == "darcy" and "sor" in chosen:
            size = SETS[name]["published"].quick if quick else ABLATION_SIZE
            yield measure_ablation(size=size, count=QUICK_ABLATION if quick else DRAWN)


HEADER = (
    "preconditioner", "tolerance", "GMRES(40) its", "ms", "SKR its", "ms", "time ratio", "paper",
    "its ratio", "paper", "GMRES-DR", "products ratio", "LU, ms",
)  # fmt: skip


def describe(rows: Sequence[Row]) -> str:
    """Return the rows of one set, or of Table 2, as a heading and a table."""
    first = rows[0]
    if first["table"] == 2:
        heading = (
            f"Table 2: darcy, published systems, n = {first['size']:,}, sor, "
            f"{first['tolerance']:.0e}, {first['systems_counted']} systems"
        )
        return f"{heading}\n\n{tabulate(rows, COLUMNS['ablation_of_the_paper'])}\n"
    heading = (
        f"{first['set']}, {first['systems']} systems, n = {first['size']:,} (paper "
        f"{PUBLISHED[first['set']].size:,}), {first['systems_counted']} systems counted; > gave "
        f"up at {first['iteration_limit']:,} iterations"
    )
    return f"{heading}\n\n{describe_cells(rows)}\n"


def describe_cells(rows: Sequence[Row]) -> str:
    """Return the rows of one set of Table 1 as a table with a line a cell."""
    cells = {
        place: {row["method"]: row for row in found}
        for place, found in grouped(rows, "preconditioner", "tolerance").items()
    }
    lines = [
        [
            preconditioner,
            f"{tolerance:.0e}",
            *_counts(cell["gmres"]),
            *_counts(cell["skr"]),
            _ratio(cell, "skr", "time"),
            number(cell["skr"]["published_ratio_time"], ".2f"),
            _ratio(cell, "skr", "iterations"),
            number(cell["skr"]["published_ratio_iterations"], ".1f"),
            _ratio(cell, "gmresdr", "iterations"),
            _ratio(cell, "skr", "applications"),
            number(cell["direct"]["median_seconds"], ".1f", 1e3),
        ]
        for (preconditioner, tolerance), cell in cells.items()
    ]
    return table(HEADER, lines)


def _counts(row: Row) -> list[str]:
    """Return iterations and milliseconds, marked where a system was given up."""
    mark = ">" if row["failures"] else ""
    return [f"{mark}{row['iterations']:.0f}", f"{mark}{1e3 * row['median_seconds']:.0f}"]


def _ratio(cell: Mapping[str, Row], method: str, key: str) -> str:
    """Return a ratio, a lower bound where GMRES gave up; a dash where the method did."""
    row = cell[method]
    if row["failures"]:
        return "–"
    return (">" if cell["gmres"]["failures"] else "") + f"{row[f'ratio_{key}']:.1f}"
