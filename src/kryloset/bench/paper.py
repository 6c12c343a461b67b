# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tables 1 and 2 of the SKR paper made again, beside the figures published there.

Wang et al., "Accelerating data generation for neural operators via Krylov subspace recycling",
ICLR 2024. SKR sorts systems by a greedy chain and solves them by GCRO-DR(40,20), recycled;
the paper divides time and iterations of GMRES(40) by its own. Here one run has both, and what
the paper lacks: GMRES-DR(40,20) with nothing recycled, and LU. `docs/measurements/paper.md` and
`paper_systems` say what the systems are.

The paper's processes are blocks here: on p processes PETSc's block Jacobi, additive Schwarz
and SOR act within p blocks of rows, so that one process with p blocks needs their iterations.
All methods stop on the true residual, theirs on that of the preconditioned system.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any, Literal, cast

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np

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
from kryloset.bench.solvers import _number, _table
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver, SolverState
from kryloset.krylov.methods.invariant import delta, wanted_space
from kryloset.krylov.preconditioners.set_up import Preconditioner
from kryloset.krylov.workspace import Workspace
from kryloset.ordering import greedy_chain
from kryloset.problems.base import Array
from kryloset.progress import track
from kryloset.run.comparison import Method, Record

PRECONDITIONERS = ("none", "jacobi", "bjacobi", "sor", "asm", "icc", "ilu")
"""Of Table 1, in its order."""

LIMIT = 10_000
"""Iterations a system after which a method gives up: the paper's `max_it`."""

WARM_UP = 2
"""First systems of the chain, solved by what recycles and not counted: they fill its space."""

WANTED = 3
"""Eigenvectors of smallest modulus whose space delta is for: the paper's script takes three."""

QUICK_COUNT, QUICK_ABLATION, QUICK_LIMIT = 2, 6, 500
"""Systems counted in a cell of a quick run, those of its Table 2, and its limit."""

ABLATION_SIZE, ABLATION_TOLERANCE, ABLATION_PROCESSES = 98, 1e-5, 10
"""Of Table 2: the tolerance and the processes are those of the published script."""

LOOKS = 10
"""Systems at which delta is looked at, evenly among those of Table 2."""


# Methods


@dataclass(frozen=True)
class Blocks:
    """A preconditioner that acts within blocks of rows, as on so many processes.

    Attributes:
        kind: PETSc's preconditioner on one process.
        inside: And within a block.
        count: Blocks.
    """

    kind: Literal["bjacobi", "asm"]
    inside: Literal["ilu", "sor"]
    count: int


def make_workspace(solver: SequenceSolver, operator: PETSc.Mat, blocks: Blocks | None) -> Any:
    """Return the KSP that a solver starts with, its preconditioner in blocks.

    The number of blocks is one of PETSc's options, which `SequenceSolver` does not read.
    """
    workspace = Workspace(solver, operator)
    if blocks is not None and solver.method != "direct":
        prefix = f"paper_{blocks.kind}_{blocks.inside}_{blocks.count}_"
        options = PETSc.Options(prefix)
        options[f"pc_{blocks.kind}_blocks"] = blocks.count
        options["sub_pc_type"] = blocks.inside
        pc = workspace.ksp.getPC()
        pc.setType(blocks.kind)
        pc.setOptionsPrefix(prefix)
        pc.setFromOptions()
    return workspace


def divide(preconditioner: str, processes: int) -> Blocks | None:
    """Return the blocks of a preconditioner on several processes, or None where it has none.

    PETSc's SOR on several processes is block Jacobi with symmetric SOR inside.
    """
    if processes == 1:
        return None
    return {
        "bjacobi": Blocks("bjacobi", "ilu", processes),
        "sor": Blocks("bjacobi", "sor", processes),
        "asm": Blocks("asm", "ilu", processes),
    }.get(preconditioner)


def choose_methods(
    preconditioner: str, tolerance: float, *, tightest: float, limit: int = LIMIT
) -> list[Method]:
    """Return what is compared, GMRES(40) first; HPDDM's GCRO-DR where PETSc has it.

    Args:
        preconditioner: A name that `SequenceSolver` knows.
        tolerance: On the true relative residual.
        tightest: That for GMRES, of whose run a looser one is a part, and for LU.
        limit: Iterations a system after which a method gives up.
    """
    gmres = SequenceSolver(
        "gmres",
        cast(Preconditioner, preconditioner),
        tightest,
        restart=40,
        recycle=20,
        max_iterations=limit,
    )
    skr = replace(gmres, method="gcrodr", tolerance=tolerance)
    methods = [
        Method("gmres", "GMRES(40)", gmres, carries=False),
        Method("skr", "GCRO-DR(40,20), sorted", skr),
        Method(
            "gmresdr",
            "GMRES-DR(40,20), nothing recycled",
            replace(skr, method="gmresdr"),
            carries=False,
        ),
        Method("direct", "LU", replace(gmres, method="direct"), carries=False),
    ]
    if PETSc.Sys.hasExternalPackage("hpddm"):
        hpddm = replace(skr, method="hpddm")
        methods.append(Method("hpddm", "HPDDM GCRO-DR(40,20), sorted", hpddm))
    return methods


# Measuring


@dataclass
class Run(Record):
    """What one method needed for one system.

    Attributes:
        history: For GMRES the norm of the residual before the first iteration and after each.
    """

    history: Array | None = None

    def until(self, tolerance: float) -> "Run":
        """Return the part of a run of GMRES after which a looser tolerance was reached.

        Its time is that part of the whole, since all iterations cost about the same; its
        residual is GMRES's own.
        """
        assert self.history is not None
        relative = self.history / self.history[0]
        (reached,) = np.nonzero(relative <= tolerance)
        if len(reached) == 0 or reached[0] >= self.iterations:
            return self
        iterations = int(reached[0])
        share = iterations / self.iterations
        return replace(
            self,
            iterations=iterations,
            operator_applications=round(share * self.operator_applications),
            preconditioner_applications=round(share * self.preconditioner_applications),
            seconds_iterate=share * self.seconds_iterate,
            true_residual=float(relative[iterations]),
            converged=True,
        )


type Look = Callable[[Method, int, PETSc.Mat, SolverState, SolverState], None]


def measure(
    source: Source,
    methods: Sequence[Method],
    chain: Sequence[int],
    blocks: Blocks | None,
    *,
    warm_up: int = 0,
    look: Look | None = None,
    description: str = "",
) -> dict[Method, list[Run]]:
    """Solve some systems with all methods, in turns.

    Args:
        source: The systems.
        methods: What to compare.
        chain: Numbers of the systems, sorted.
        blocks: Of the preconditioner.
        warm_up: So many first systems count for no method; what carries nothing skips them.
        look: Is shown the method, the system, its matrix, and the states before and after.
        description: What to call the work while it is under way; nothing is said without.

    Returns:
        By method a run a counted system, in the order in which it met them: the same systems
        for all.
    """
    orders = {"solving": list(chain), "given": [*chain[:warm_up], *sorted(chain[warm_up:])]}
    states = {method: method.solver.init() for method in methods}
    runs: dict[Method, list[Run]] = {method: [] for method in methods}
    places = range(len(chain))
    for place in track(places, description) if description else places:
        shift = place % len(methods)
        for method in (*methods[shift:], *methods[:shift]):
            if place < warm_up and not method.carries:
                continue
            system, solver, before = orders[method.order][place], method.solver, states[method]
            operator, rhs = source.load(system)
            if before.workspace is None:
                # At the start, and after a failure.
                workspace = make_workspace(solver, operator, blocks)
                before = replace(before, workspace=workspace)
            ksp = before.workspace.ksp
            if solver.method == "gmres":
                # Twice the limit, since a solve that has to go on adds to it.
                ksp.setConvergenceHistory(2 * solver.max_iterations)
            result, after = solver.solve(operator, rhs, before)
            states[method] = after
            if look is not None:
                look(method, system, operator, before, after)
            if place >= warm_up:
                run = Run(system)
                run.add(result)
                if solver.method == "gmres":
                    run.history = np.array(ksp.getConvergenceHistory())
                runs[method].append(run)
    return runs


def make_rows(
    methods: Sequence[Method], runs: Mapping[Method, Sequence[Run]], **cell: Any
) -> list[dict[str, Any]]:
    """Return the figures of several methods on the same systems, one row each.

    A system that a method gave up counts with the iterations done until then, which are
    its limit where that stopped it: the ratios to it are then lower bounds.

    Args:
        methods: The first is what ratios are of.
        runs: Of each method.
        cell: Keys that all rows have.

    Returns:
        `cell`; `method`, `label`; medians and means over the systems; `failures`, systems that
        did not reach the tolerance; `ratio_to_fastest` of those without; `true_residual`, the
        largest (None where it is not finite); `ratio_time`, `ratio_iterations` (None for LU,
        which has none) and `ratio_applications` (of A), how many times less than the first
        method.
    """
    rows: list[dict[str, Any]] = []
    for method in methods:
        found = runs[method]
        residual = float(np.max([run.true_residual for run in found]))
        row: dict[str, Any] = {
            "method": method.name,
            "label": method.label,
            "systems_counted": len(found),
            "iteration_limit": method.solver.max_iterations,
            "median_seconds": median(run.seconds for run in found),
            "ratio_to_fastest": None,
            "iterations": fmean(run.iterations for run in found),
            "iterations_least": min(run.iterations for run in found),
            "iterations_most": max(run.iterations for run in found),
            "operator_applications": fmean(run.operator_applications for run in found),
            "failures": sum(not run.converged for run in found),
            "true_residual": residual if math.isfinite(residual) else None,
        }
        rows.append(cell | row)
    solved = [row["median_seconds"] for row in rows if not row["failures"]]
    first = rows[0]
    for row in rows:
        if solved:
            row["ratio_to_fastest"] = row["median_seconds"] / min(solved)
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
) -> list[dict[str, Any]]:
    """Measure the cells of one set, three for each preconditioner.

    Args:
        name: Of `SETS`.
        role: Whether the published systems or the right ones.
        size: Points a side, see `Systems`.
        count: Systems counted.
        limit: Iterations a system after which a method gives up.
        preconditioners: Of `PRECONDITIONERS`.

    Returns:
        The rows of `make_rows`, with `table`, `set`, `systems`, `size` (n), `preconditioner`,
        `tolerance`, and `published_ratio_time` and `published_ratio_iterations` (of SKR on the
        published systems, else None).
    """
    systems, figures = SETS[name][role], PUBLISHED[name]
    source = make_source(systems, size, count + WARM_UP)
    chain = greedy_chain(source.features).tolist()
    tightest = min(figures.tolerances)
    rows = []
    for preconditioner in track(preconditioners, f"measuring {name}, {role} systems"):
        blocks = divide(preconditioner, min(systems.processes, source.unknowns))
        kind = blocks.kind if blocks else preconditioner
        methods = {
            tolerance: choose_methods(kind, tolerance, tightest=tightest, limit=limit)
            for tolerance in figures.tolerances
        }
        # GMRES and LU are there once.
        every = list(dict.fromkeys(method for group in methods.values() for method in group))
        runs = measure(source, every, chain, blocks, warm_up=WARM_UP)
        for place, (tolerance, group) in enumerate(methods.items()):
            gmres = group[0]
            cell = make_rows(
                group,
                {**runs, gmres: [run.until(tolerance) for run in runs[gmres]]},
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
                for key, table in ratios.items():
                    figure = table[preconditioner] if judged else None
                    row[f"published_ratio_{key}"] = figure[place] if figure else None
            rows += cell
    return rows


def measure_ablation(*, size: int, count: int) -> list[dict[str, Any]]:
    """Make Table 2: what sorting and recycling do on the published Darcy systems with SOR.

    Args:
        size: Interior points a side.
        count: Systems, all of which count, the first ones too.

    Returns:
        The rows of `make_rows` for GMRES-DR (`gmresdr`), SKR in the order given (`unsorted`) and
        SKR (`skr`), with `delta`: its mean at a few systems before they are solved, 1 where
        nothing is recycled, None where ARPACK finds no wanted space; and `published_seconds`,
        `published_iterations`, `published_delta` (None for GMRES-DR).
    """
    systems = SETS["darcy"]["published"]
    source = make_source(systems, size, count)
    chain = greedy_chain(source.features).tolist()
    blocks = divide("sor", min(ABLATION_PROCESSES, source.unknowns))
    kind = blocks.kind if blocks else "sor"
    chosen = choose_methods(kind, ABLATION_TOLERANCE, tightest=ABLATION_TOLERANCE)
    skr, gmresdr = (method for method in chosen if method.name in ("skr", "gmresdr"))
    unsorted = Method("unsorted", "GCRO-DR(40,20), given order", skr.solver, order="given")
    methods = [gmresdr, unsorted, skr]
    looks = range(0, count, max(1, count // LOOKS))
    angles: dict[str, list[float]] = {method.name: [] for method in methods}

    def look(
        method: Method, system: int, operator: PETSc.Mat, before: SolverState, after: SolverState
    ) -> None:
        if not method.carries:
            angles[method.name].append(1.0)
        elif system in looks and before.space is not None and after.workspace is not None:
            with suppress(KrylosetError):
                wanted = wanted_space(operator, after.workspace.ksp.getPC(), WANTED)
                angles[method.name].append(delta(wanted, before.space))

    rows = make_rows(
        methods,
        measure(
            source, methods, chain, blocks, look=look, description="measuring what sorting does"
        ),
        table=2,
        set="darcy",
        systems="published",
        size=source.unknowns,
        preconditioner="sor",
        tolerance=ABLATION_TOLERANCE,
    )
    for row in rows:
        row["delta"] = fmean(angles[row["method"]]) if angles[row["method"]] else None
        for key in ("seconds", "iterations", "delta"):
            row[f"published_{key}"] = ABLATION.get(row["method"], {}).get(key)
    return rows


# Goals


@dataclass(frozen=True)
class Goal:
    """A goal, and whether one run met it.

    Attributes:
        text: What is asked.
        case: Where it was measured.
        figure: What was measured.
        least: The smallest figure that meets the goal.
        reason: Why it falls short; empty where it does not.
    """

    text: str
    case: str
    figure: float
    least: float
    reason: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is large enough."""
        return self.figure >= self.least


def judge(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Compare SKR's ratios on the published systems with the paper's.

    Returns:
        A goal a cell whose iteration ratio is published, the best time ratio last.
    """
    cells = [row for row in rows if row.get("published_ratio_time") is not None]
    gmres = {_cell(row): row for row in rows if row["method"] == "gmres"}
    goals = []
    for row in cells:
        least = row["published_ratio_iterations"]
        if least is None:
            continue
        # Who fails has saved nothing.
        figure = 0.0 if row["failures"] else row["ratio_iterations"]
        reason = "" if figure >= least else _explain(row, gmres[_cell(row)])
        goals.append(Goal("iterations, GMRES(40) over SKR", _where(row), figure, least, reason))
    if cells:
        best = max(cells, key=lambda row: (not row["failures"], row["ratio_time"]))
        figure = 0.0 if best["failures"] else best["ratio_time"]
        text = "time, GMRES(40) over SKR, in the best cell"
        goals.append(Goal(text, _where(best), figure, BEST_TIME))
    return goals


def _explain(skr: Mapping[str, Any], gmres: Mapping[str, Any]) -> str:
    """Say why an iteration ratio is less than the paper's, from what was measured."""
    count = skr["systems_counted"]
    if skr["failures"]:
        return f"SKR gave up {skr['failures']} of {count} systems"
    if gmres["failures"]:
        most = gmres["iteration_limit"] / skr["iterations"]
        return (
            f"a lower bound: GMRES gave up {gmres['failures']} of {count} systems, and "
            f"{gmres['iteration_limit']:,} iterations show {most:.1f} at most"
        )
    published = PUBLISHED[skr["set"]].size
    if skr["size"] < published / 2:
        return f"a smaller system than the paper's {published:,}, on which restarts cost less"
    least, most = gmres["iterations_least"], gmres["iterations_most"]
    if most > 2 * least:
        return (
            f"few systems, on which GMRES takes {least:,} to {most:,} iterations: the paper's "
            f"mean is over {DRAWN}"
        )
    return (
        f"GMRES takes {least:,} to {most:,} iterations on all systems, SKR {skr['iterations']:.0f}"
    )


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("table", "set", "systems", "preconditioner", "tolerance"))


def _where(row: Mapping[str, Any]) -> str:
    return f"{row['set']}, {row['preconditioner']}, {row['tolerance']:.0e}"


# The whole and how it is shown


def run(
    *,
    sets: Sequence[str] = tuple(SETS),
    preconditioners: Sequence[str] = PRECONDITIONERS,
    quick: bool = False,
    count: int | None = None,
    show: Callable[[Sequence[Mapping[str, Any]]], None] = lambda rows: None,
) -> list[dict[str, Any]]:
    """Make both tables. Serial.

    Args:
        sets: Of `SETS`.
        preconditioners: Of `PRECONDITIONERS`; Table 2 comes with darcy and sor.
        quick: Tiny systems, to see that all works.
        count: Systems counted in each cell of Table 1; None for what `SETS` says.
        show: Called with the rows of a set, or of Table 2, as soon as they are there.

    Returns:
        The rows of `measure_set` and `measure_ablation`, ready for JSON.

    Raises:
        KrylosetError: for a name that is not known, or a number out of range.
    """
    for option, names, known in (
        ("--set", sets, tuple(SETS)),
        ("--preconditioner", preconditioners, PRECONDITIONERS),
    ):
        for name in names:
            if name not in known:
                raise KrylosetError(
                    f"{option} {name!r} is not known: use one of {', '.join(known)}"
                )
    if count is not None and not 1 <= count <= DRAWN - WARM_UP:
        raise KrylosetError(f"--count must be 1 to {DRAWN - WARM_UP}, got {count}")
    rows: list[dict[str, Any]] = []

    def keep(found: list[dict[str, Any]]) -> None:
        show(found)
        rows.extend(found)

    for name in sets:
        for role, systems in SETS[name].items():
            counted = (QUICK_COUNT if quick else systems.count) if count is None else count
            size = systems.quick if quick else systems.size
            limit = QUICK_LIMIT if quick else LIMIT
            keep(
                measure_set(
                    name,
                    role,
                    size=size,
                    count=counted,
                    limit=limit,
                    preconditioners=preconditioners,
                )
            )
        if name == "darcy" and "sor" in preconditioners:
            size = SETS[name]["published"].quick if quick else ABLATION_SIZE
            keep(measure_ablation(size=size, count=QUICK_ABLATION if quick else DRAWN))
    return rows


HEADER = (
    "preconditioner", "tolerance", "GMRES(40) its", "ms", "SKR its", "ms", "time ratio", "paper",
    "its ratio", "paper", "GMRES-DR", "products ratio", "LU, ms",
)  # fmt: skip


def describe(rows: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Return the rows of one set, or of Table 2, as a heading and a table for people."""
    first = rows[0]
    if first["table"] == 2:
        return _describe_ablation(rows, markdown)
    cells: dict[tuple[str, float], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["preconditioner"], row["tolerance"]), {})[row["method"]] = row
    hpddm = "hpddm" in next(iter(cells.values()))
    lines = [
        [
            preconditioner,
            f"{tolerance:.0e}",
            *_counts(cell["gmres"]),
            *_counts(cell["skr"]),
            _ratio(cell, "skr", "time"),
            _number(cell["skr"]["published_ratio_time"], ".2f"),
            _ratio(cell, "skr", "iterations"),
            _number(cell["skr"]["published_ratio_iterations"], ".1f"),
            _ratio(cell, "gmresdr", "iterations"),
            _ratio(cell, "skr", "applications"),
            f"{1e3 * cell['direct']['median_seconds']:.1f}",
            *([_ratio(cell, "hpddm", "iterations")] if hpddm else []),
        ]
        for (preconditioner, tolerance), cell in cells.items()
    ]
    what = "published systems" if first["systems"] == "published" else "right systems"
    heading = (
        f"{first['set']}, {what}, n = {first['size']:,} (paper {PUBLISHED[first['set']].size:,}), "
        f"{first['systems_counted']} systems counted; > gave up at "
        f"{first['iteration_limit']:,} iterations"
    )
    header = (*HEADER, "HPDDM") if hpddm else HEADER
    return f"{heading}\n\n{_table(header, lines, markdown)}\n"


def _describe_ablation(rows: Sequence[Mapping[str, Any]], markdown: bool) -> str:
    first = rows[0]
    lines = [
        [
            row["label"],
            f"{row['iterations']:.1f}",
            _number(row["published_iterations"], ".1f"),
            f"{row['operator_applications']:.1f}",
            f"{row['median_seconds']:.3f}",
            _number(row["published_seconds"], ".3f"),
            _number(row["delta"], ".2f"),
            _number(row["published_delta"], ".2f"),
        ]
        for row in rows
    ]
    heading = (
        f"Table 2: darcy, published systems, n = {first['size']:,}, sor, "
        f"{first['tolerance']:.0e}, {first['systems_counted']} systems"
    )
    header = (
        *("method", "iterations", "paper", "products with A", "seconds", "paper"),
        *("delta", "paper"),
    )
    return f"{heading}\n\n{_table(header, lines, markdown)}\n"


def describe_goals(goals: Sequence[Goal], *, markdown: bool = False) -> str:
    """Return what was met in one line a set, and each goal that was missed."""
    if not goals:
        return "No goal was set for such systems.\n"
    *cells, best = goals
    lines = []
    for name in dict.fromkeys(goal.case.split(",")[0] for goal in cells):
        here = [goal for goal in cells if goal.case.startswith(f"{name},")]
        met = sum(goal.met for goal in here)
        lines.append(f"{name}: iteration ratio at least the paper's in {met} of {len(here)} cells")
    verdict = "met" if best.met else "missed"
    lines.append(
        f"largest time ratio {best.figure:.1f} ({best.case}), at least {best.least:g}: {verdict}"
    )
    text = "\n".join(f"- {line}" for line in lines) + "\n"
    missed = [
        [goal.case, f"{goal.figure:.1f}", f"{goal.least:.1f}", goal.reason]
        for goal in cells
        if not goal.met
    ]
    if missed:
        header = ("iteration ratio missed", "figure", "paper", "why")
        text += f"\n{_table(header, missed, markdown)}\n"
    return text


def _counts(row: Mapping[str, Any]) -> list[str]:
    """Return iterations and milliseconds, marked where a system was given up."""
    mark = ">" if row["failures"] else ""
    return [f"{mark}{row['iterations']:.0f}", f"{mark}{1e3 * row['median_seconds']:.0f}"]


def _ratio(cell: Mapping[str, Mapping[str, Any]], method: str, key: str) -> str:
    """Return a ratio, a lower bound where GMRES gave up; a dash where the method did."""
    row = cell[method]
    if row["failures"]:
        return "–"
    return (">" if cell["gmres"]["failures"] else "") + f"{row[f'ratio_{key}']:.1f}"
