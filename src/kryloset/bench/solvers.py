# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""All solvers on the reference sequences, side by side in one run, and the goals set for them.

Every system is put anew into one Mat for each method in turn; the method that begins moves
on by one each system. Mean iterations and applications are over all systems, as published
counts are. Medians of time leave out the first system of a round, which has nothing to
recycle and creates the KSP. Ratios are of medians of the same run.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, cast, get_args

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.bench.sequences import DRAWN, KINDS, SEED, make_sequence
from kryloset.bench.sequences import Sequence as Systems
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver
from kryloset.krylov.preconditioners.set_up import Preconditioner
from kryloset.ordering import greedy_chain
from kryloset.progress import track
from kryloset.provenance import versions
from kryloset.run.comparison import Method, Record

PRECONDITIONERS = ("none", "sor", "ilu")
"""Those that the reference counts are for."""

SIZES = {"darcy": 100, "scaled": 100, "published": 50, "published_helmholtz": 50, "wind": 100}
"""Interior points a side for which they are; there are none for `published_helmholtz`."""

SYSTEMS = 20
"""Systems for which they are."""

TOLERANCE = 1e-8
"""Tolerance for which they are."""

HPDDM = {
    ("darcy", "none"): 307.9, ("darcy", "sor"): 56.8, ("darcy", "ilu"): 47.5,
    ("wind", "none"): 957.9, ("wind", "sor"): 138.2, ("wind", "ilu"): 106.3,
    ("scaled", "none"): 441.1, ("scaled", "sor"): 85.5, ("scaled", "ilu"): 69.2,
    ("published", "none"): 311.7, ("published", "sor"): 78.8, ("published", "ilu"): 65.5,
}  # fmt: skip
"""Mean iterations of HPDDM's GCRO-DR(40,20) in the order of the greedy chain: PETSc 3.25.5
with HPDDM 2.4.0, first 20 of 40 systems, seed 3, sizes and tolerance as above. It stops on
the preconditioned residual, a little early, and leaves out the k applications a system that
rebuild its space."""

DEFINITE = ("darcy",)
"""Kinds whose matrices are symmetric positive definite."""

OWN = ("gcrodr", "unsorted", "gcrodr10", "gmresdr", "own_gmres", "rcg", "rbicgstab")
"""Names of this project's methods."""

ITERATION_LIMIT = 20_000

GAMG_LIMIT = 200
"""Where multigrid needs more, it has failed, and its iterations are dear."""

LARGE_SIZE, LARGE_SYSTEMS, LARGE_TOLERANCE = 316, 4, 1e-4
"""The sequence of n = 1e5, there for the cost of an iteration, which a loose tolerance shows."""

MEMORY_SIZE, MEMORY_SYSTEMS = 10, (1_000, 10_000)
"""Many small systems, and the numbers of them after which memory is looked at."""

GROWTH = 1.0
"""MiB between the two that count as no growth: less than 120 bytes a system."""


@dataclass(frozen=True)
class Goal:
    """A goal that issue and documentation set for the solvers.

    Attributes:
        text: What is asked.
        case: Where it was measured.
        figure: What was measured.
        limit: The largest figure that meets the goal.
        met: Whether it does, and no system failed where that matters.
    """

    text: str
    case: str
    figure: float
    limit: float
    met: bool


def choose_methods(
    kind: str, preconditioner: str, tolerance: float
) -> tuple[list[Method], list[str]]:
    """Return what is compared on a kind of sequence, PETSc's GMRES(40) first.

    CG gets icc where the others get ilu. Multigrid and LU are there for comparison.

    Returns:
        The methods that `SequenceSolver` offers here, and the labels of those that it does not.

    Raises:
        ValueError: for a preconditioner or tolerance that `SequenceSolver` refuses.
    """
    gmres = SequenceSolver(
        "gmres",
        cast(Preconditioner, preconditioner),
        tolerance,
        restart=40,
        recycle=20,
        max_iterations=ITERATION_LIMIT,
    )
    symmetric = "icc" if preconditioner == "ilu" else preconditioner
    suffix = " + ICC" if symmetric == "icc" else ""
    outer, outer_label = ("cg", "CG") if kind in DEFINITE else ("gmres", "GMRES(40)")
    # Name, label, and what differs from GMRES.
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("gmres", "PETSc GMRES(40)", {}),
        ("gcrodr", "GCRO-DR(40,20), sorted", {"method": "gcrodr"}),
        ("unsorted", "GCRO-DR(40,20), given order", {"method": "gcrodr"}),
        ("gcrodr10", "GCRO-DR(40,10), sorted", {"method": "gcrodr", "recycle": 10}),
        ("gmresdr", "GMRES-DR(40,20), nothing carried", {"method": "gmresdr"}),
        ("own_gmres", "own GMRES(40)", {"method": "gcrodr", "recycle": 0}),
        ("hpddm", "HPDDM GCRO-DR(40,20), sorted", {"method": "hpddm"}),
        ("rbicgstab", "recycling BiCGStab(2), k = 20, sorted", {"method": "rbicgstab"}),
        ("bicgstab", "PETSc BiCGStab(2)", {"method": "bicgstab"}),
    ]
    if kind in DEFINITE:
        short = {"method": "rcg", "restart": 80, "recycle": 20, "preconditioner": symmetric}
        rows += [
            ("rcg", f"recycling CG(80,20){suffix}, sorted", short),
            ("cg", f"PETSc CG{suffix}", {"method": "cg", "preconditioner": symmetric}),
        ]
    gamg = {"method": outer, "preconditioner": "gamg", "max_iterations": GAMG_LIMIT}
    rows += [
        ("gamg", f"PETSc {outer_label} + GAMG", gamg),
        ("direct", "LU", {"method": "direct"}),
    ]
    methods, refused = [], []
    for name, label, fields in rows:
        try:
            solver = replace(gmres, **fields)
        except ValueError:
            refused.append(label)
            continue
        order: Literal["given", "solving"] = "given" if name == "unsorted" else "solving"
        methods.append(Method(name, label, solver, order=order))
    return methods, refused


# Measuring


class Operator:
    """A Mat that takes the matrices of a sequence in turn. Collective."""

    def __init__(self, systems: Systems, comm: MPI.Comm) -> None:
        """Allocate for the first matrix."""
        self._systems = systems
        n = len(systems.rhs)
        local, _ = PETSc.Sys.splitOwnership(n, comm=comm)
        last = comm.scan(local)
        self._rows = slice(last - local, last)
        sizes = (local, n)
        self.mat = PETSc.Mat().createAIJ((sizes, sizes), csr=self._csr(0), comm=comm)
        self.rhs = self.mat.createVecLeft()
        self.rhs.setArray(systems.rhs[self._rows])

    def fill(self, number: int) -> None:
        """Put the entries of a matrix into the Mat."""
        self.mat.setValuesCSR(*self._csr(number))
        self.mat.assemble()

    def _csr(self, number: int) -> tuple[Any, Any, Any]:
        rows = self._systems.matrices[number][self._rows]
        integer, scalar = PETSc.IntType, PETSc.ScalarType
        return rows.indptr.astype(integer), rows.indices.astype(integer), rows.data.astype(scalar)


def measure(
    systems: Systems,
    methods: Sequence[Method],
    *,
    rounds: int = 1,
    comm: MPI.Comm = MPI.COMM_SELF,
    description: str = "measuring",
) -> dict[str, list[list[Record]]]:
    """Solve all systems with all methods. Collective.

    Returns:
        By name of a method a list a round of records, in the order in which it met the systems.
    """
    count = len(systems.matrices)
    chain = greedy_chain(systems.parameters.reshape(count, -1)).tolist()
    orders = {"solving": chain, "given": list(range(count))}
    operator = Operator(systems, comm)
    records: dict[str, list[list[Record]]] = {method.name: [] for method in methods}
    # Warmed up: libraries are loaded and memory is there before anything counts.
    for method in methods:
        operator.fill(chain[0])
        method.solver.solve(operator.mat, operator.rhs, method.solver.init())
    for turn in track(range(rounds * count), description):
        number, place = divmod(turn, count)
        if place == 0:
            states = {method.name: method.solver.init() for method in methods}
            for runs in records.values():
                runs.append([])
        # In another round another method begins with the first system.
        shift = (number + place) % len(methods)
        for method in (*methods[shift:], *methods[:shift]):
            system = orders[method.order][place]
            operator.fill(system)
            result, states[method.name] = method.solver.solve(
                operator.mat, operator.rhs, states[method.name]
            )
            record = Record(system)
            record.add(result)
            records[method.name][-1].append(record)
    return records


def summarise(
    methods: Sequence[Method], records: Mapping[str, Sequence[Sequence[Record]]]
) -> list[dict[str, Any]]:
    """Return the figures of each method, ready for JSON.

    Returns:
        By method means over all systems (`..._mean`), medians over those that are not the
        first of a round (`ms...` a system, `us_iteration...` an iteration, alone and with the
        rebuilding of the space spread over the iterations), `to_gmres...`, the latter over
        those of PETSc's GMRES (None where the preconditioner is another), `true_residual_max`
        (None if one is not finite), `failures` and `records`, a list a quantity.
    """
    rows = []
    for method in methods:
        every = [record for run in records[method.name] for record in run]
        later = [record for run in records[method.name] for record in run[1:]]
        residual = float(np.max([record.true_residual for record in every]))
        row: dict[str, Any] = {
            "name": method.name,
            "label": method.label,
            "own": method.name in OWN,
            "solver": asdict(method.solver),
            **{f"{key}_mean": fmean(_values(every, key)) for key in COUNTS},
            "ms": 1e3 * median(_values(later, "seconds")),
            **{f"ms_{part}": 1e3 * median(_values(later, f"seconds_{part}")) for part in PARTS},
            "us_iteration": 1e6 * median(r.seconds_iterate / max(r.iterations, 1) for r in later),
            "us_iteration_rebuild": 1e6
            * median((r.seconds_iterate + r.seconds_rebuild) / max(r.iterations, 1) for r in later),
            "true_residual_max": residual if math.isfinite(residual) else None,
            "failures": sum(not record.converged for record in every),
            "records": {key: _values(every, key) for key in ("instance", *COUNTS, *SECONDS)},
        }
        rows.append(row)
    gmres = rows[0]
    for row in rows:
        same = row["solver"]["preconditioner"] == gmres["solver"]["preconditioner"]
        same = same and row["name"] != "direct"
        for key in ("", "_rebuild"):
            ratio = row[f"us_iteration{key}"] / gmres["us_iteration"]
            row[f"to_gmres{key}"] = ratio if same else None
    return rows


COUNTS = ("iterations", "operator_applications", "preconditioner_applications")
PARTS = ("setup", "rebuild", "iterate")
SECONDS = tuple(f"seconds_{part}" for part in PARTS)


def _values(records: Iterable[Record], key: str) -> list[Any]:
    return [getattr(record, key) for record in records]


def measure_case(
    kind: str,
    preconditioner: str,
    *,
    size: int,
    count: int,
    tolerance: float,
    rounds: int = 1,
    drawn: int = DRAWN,
    names: Sequence[str] = (),
    comm: MPI.Comm = MPI.COMM_SELF,
) -> dict[str, Any]:
    """Compare the methods on one sequence with one preconditioner.

    Args:
        kind: One of `KINDS`.
        preconditioner: A name that `SequenceSolver` knows.
        size: Interior points a side.
        count: Systems to solve, the first of `drawn`; at least 2.
        tolerance: On the true relative residual.
        rounds: How often all is measured.
        drawn: Systems that are drawn.
        names: Only these methods; all if empty.
        comm: Processes that share each system.
    """
    methods, refused = choose_methods(kind, preconditioner, tolerance)
    methods = [method for method in methods if not names or method.name in names]
    systems = make_sequence(kind, size, count, drawn=max(drawn, count))
    records = measure(
        systems,
        methods,
        rounds=rounds,
        comm=comm,
        description=f"measuring {kind}, n = {size**2:,}, {preconditioner}",
    )
    return {
        "kind": kind,
        "preconditioner": preconditioner,
        "size": size,
        "unknowns": size**2,
        "systems": count,
        "drawn": max(drawn, count),
        "seed": SEED,
        "tolerance": tolerance,
        "rounds": rounds,
        "processes": comm.size,
        "methods": summarise(methods, records),
        "not_offered": [] if names else refused,
    }


def measure_growth(
    size: int = MEMORY_SIZE, marks: tuple[int, int] = MEMORY_SYSTEMS
) -> dict[str, Any] | None:
    """Solve many small systems, the state handed on, and look at the memory in use.

    Returns:
        Resident MiB after each of the two `marks`, and the difference; None where the
        operating system does not tell.
    """
    if _memory("VmRSS") is None:
        return None
    operator = Operator(make_sequence("darcy", size, DRAWN, drawn=DRAWN), MPI.COMM_SELF)
    solver = SequenceSolver("gcrodr", "ilu", TOLERANCE, restart=40, recycle=20)
    state = solver.init()
    resident = []
    for turn in track(range(1, marks[1] + 1), "watching the memory"):
        operator.fill(turn % DRAWN)
        _, state = solver.solve(operator.mat, operator.rhs, state)
        if turn in marks:
            resident.append(_memory("VmRSS") or 0.0)
    return {
        "unknowns": size**2,
        "systems": list(marks),
        "failures": state.failures,
        "resident_mib": resident,
        "growth_mib": resident[-1] - resident[0],
    }


def measure_vectors(size: int = LARGE_SIZE) -> dict[str, Any] | None:
    """Count the vectors that GCRO-DR(40,20) without preconditioner takes at its peak.

    The state that goes in and the one that comes out are both counted, and the solution.

    Returns:
        The peak of resident memory through a few systems, less that before the first, in
        vectors; None where the operating system does not tell.
    """
    operator = Operator(make_sequence("darcy", size, 3, drawn=3), MPI.COMM_SELF)
    solver = SequenceSolver("gcrodr", "none", LARGE_TOLERANCE, restart=40, recycle=20)
    before = _memory("VmRSS")
    try:
        # Sets the peak back to what is in use.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    state = solver.init()
    for system in range(3):
        operator.fill(system)
        _, state = solver.solve(operator.mat, operator.rhs, state)
    peak = _memory("VmHWM")
    if before is None or peak is None:
        return None
    return {"unknowns": size**2, "vectors": (peak - before) * 2**20 / (8 * size**2)}


def _memory(key: str) -> float | None:
    """Return a quantity of Linux's /proc/self/status in MiB; None on other systems."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return None


# Goals


def judge(
    cases: Sequence[Mapping[str, Any]],
    growth: Mapping[str, Any] | None = None,
    vectors: Mapping[str, Any] | None = None,
) -> list[Goal]:
    """Compare what was measured with the goals.

    Both were set for one process: iterations are judged where HPDDM's are known, times from
    10,000 unknowns on.

    Args:
        cases: As of `measure_case`.
        growth: As of `measure_growth`.
        vectors: As of `measure_vectors`.
    """
    goals = []
    for case in cases:
        if case["processes"] > 1:
            continue
        methods = {row["name"]: row for row in case["methods"]}
        goals += _judge_iterations(case, methods)
        if case["unknowns"] >= 10_000:
            goals += _judge_times(case, methods)
    if growth is not None:
        first, last = growth["systems"]
        text = f"MiB that memory grows from system {first:,} to {last:,}"
        where = f"darcy, n = {growth['unknowns']:,}, ilu"
        goals.append(_goal(text, where, growth["growth_mib"], GROWTH, growth["failures"]))
    if vectors is not None:
        text = "vectors in GCRO-DR(40,20), at most m + 2k + 10"
        where = f"darcy, n = {vectors['unknowns']:,}, none"
        goals.append(_goal(text, where, vectors["vectors"], 40 + 2 * 20 + 10))
    return goals


def _judge_iterations(case: Mapping[str, Any], methods: Mapping[str, Any]) -> list[Goal]:
    key = (case["kind"], case["preconditioner"])
    here = [case[name] for name in ("size", "systems", "drawn", "seed", "tolerance")]
    if key not in HPDDM or here != [SIZES[case["kind"]], SYSTEMS, DRAWN, SEED, TOLERANCE]:
        return []
    row = methods["gcrodr"]
    ratio = row["iterations_mean"] / HPDDM[key]
    return [_goal("iterations, GCRO-DR(40,20) / HPDDM", _where(case), ratio, 1.1, row["failures"])]


def _judge_times(case: Mapping[str, Any], methods: Mapping[str, Any]) -> list[Goal]:
    gcrodr, own, where = methods["gcrodr"], methods["own_gmres"], _where(case)
    text = "an iteration, GCRO-DR(40,20) / PETSc GMRES(40)"
    goals = [
        _goal(text, where, gcrodr["to_gmres"], 2.0),
        _goal(f"{text}, rebuilding included", where, gcrodr["to_gmres_rebuild"], 2.0),
        _goal("an iteration, own GMRES(40) / PETSc GMRES(40)", where, own["to_gmres"], 1.15),
    ]
    races = {
        ("darcy", "ilu"): ("cg", ["rcg"]),
        ("wind", "ilu"): ("bicgstab", OWN),
    }
    rival, names = races.get((case["kind"], case["preconditioner"]), ("", ()))
    runners = [methods[name] for name in names if name in methods]
    if rival in methods and runners:
        # Who fails is out of the race.
        best = min(runners, key=lambda row: (row["failures"], row["ms"]))
        other = methods[rival]
        text = f"time a system, {best['label']} / {other['label']}"
        goals.append(_goal(text, where, best["ms"] / other["ms"], 1.0, best["failures"]))
    return goals


def _goal(text: str, case: str, figure: float, limit: float, failures: int = 0) -> Goal:
    return Goal(text, case, figure, limit, figure <= limit and failures == 0)


def _where(case: Mapping[str, Any]) -> str:
    return f"{case['kind']}, n = {case['unknowns']:,}, {case['preconditioner']}"


# The whole and how it is shown


def run(
    *,
    kinds: Sequence[str] = tuple(KINDS),
    preconditioners: Sequence[str] = PRECONDITIONERS,
    size: int | None = None,
    count: int = SYSTEMS,
    tolerance: float = TOLERANCE,
    rounds: int = 1,
    large: bool = True,
    memory: bool = True,
    comm: MPI.Comm = MPI.COMM_WORLD,
    show: Callable[[Mapping[str, Any]], None] = lambda case: None,
) -> dict[str, Any]:
    """Measure all cases and judge them. Collective.

    Args:
        kinds: Of `KINDS`.
        preconditioners: Names that `SequenceSolver` knows.
        size: Interior points a side; None for that of the reference counts.
        count: Systems of a case, at least 2.
        tolerance: On the true relative residual.
        rounds: How often each case is measured.
        large: Measure the cost of an iteration at n = 1e5 too.
        memory: Watch the memory too.
        comm: Processes that share each system.
        show: Called with each case as soon as it is there.

    Returns:
        `versions`, `cases`, `growth`, `vectors` and `goals`, ready for JSON.

    Raises:
        KrylosetError: for a name that is not known or a number out of range.
    """
    _check(kinds, preconditioners, size, count, tolerance, rounds)
    # First, since memory that earlier work has freed would hide what is taken.
    memory = memory and comm.size == 1
    growth = measure_growth() if memory else None
    vectors = measure_vectors() if memory else None
    cases = []
    for kind in kinds:
        for preconditioner in preconditioners:
            case = measure_case(
                kind,
                preconditioner,
                size=size or SIZES[kind],
                count=count,
                tolerance=tolerance,
                rounds=rounds,
                comm=comm,
            )
            show(case)
            cases.append(case)
    for preconditioner in preconditioners if large else ():
        case = measure_case(
            "darcy",
            preconditioner,
            size=LARGE_SIZE,
            count=LARGE_SYSTEMS,
            drawn=LARGE_SYSTEMS,
            tolerance=LARGE_TOLERANCE,
            names=("gmres", "gcrodr", "own_gmres"),
            comm=comm,
        )
        show(case)
        cases.append(case)
    return {
        "versions": versions(),
        "cases": cases,
        "growth": growth,
        "vectors": vectors,
        "goals": [asdict(goal) for goal in judge(cases, growth, vectors)],
    }


def _check(
    kinds: Sequence[str],
    preconditioners: Sequence[str],
    size: int | None,
    count: int,
    tolerance: float,
    rounds: int,
) -> None:
    for option, names, known in (
        ("--kind", kinds, tuple(KINDS)),
        ("--preconditioner", preconditioners, get_args(Preconditioner)),
    ):
        for name in names:
            if name not in known:
                raise KrylosetError(
                    f"{option} {name!r} is not known: use one of {', '.join(known)}"
                )
    if not 0 < tolerance < 1:
        raise KrylosetError(f"--rtol must lie between 0 and 1, got {tolerance}")
    for option, value, least in (
        ("--size", size, 2),
        ("--count", count, 2),
        ("--rounds", rounds, 1),
    ):
        if value is not None and value < least:
            raise KrylosetError(f"{option} must be at least {least}, got {value}")


HEADER = (
    "method", "iterations", "A", "M⁻¹", "ms a system", "set-up", "rebuild", "iterate",
    "µs an iteration", "with rebuild", "to GMRES(40)", "with rebuild", "residual", "failed",
)  # fmt: skip


def describe_case(case: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Return a case as a heading and a table for people."""
    published = case["kind"].startswith("published")
    sort = " (benchmark only: the SKR paper's published script)" if published else ""
    processes = "" if case["processes"] == 1 else f", {case['processes']} processes"
    heading = (
        f"{_where(case)}{sort}: {case['systems']} systems, rtol {case['tolerance']:g}, "
        f"{case['rounds']} round{'s' * (case['rounds'] > 1)}{processes}"
    )
    rows = [
        [
            row["label"],
            *(f"{row[f'{key}_mean']:.1f}" for key in COUNTS),
            f"{row['ms']:.2f}",
            *(f"{row[f'ms_{part}']:.2f}" for part in PARTS),
            *(f"{row[f'us_iteration{key}']:.1f}" for key in ("", "_rebuild")),
            *(_number(row[f"to_gmres{key}"], ".2f") for key in ("", "_rebuild")),
            _number(row["true_residual_max"], ".1e"),
            str(row["failures"]),
        ]
        for row in case["methods"]
    ]
    text = f"{heading}\n\n{_table(HEADER, rows, markdown)}\n"
    if case["not_offered"]:
        text += f"\nnot offered here: {', '.join(case['not_offered'])}\n"
    return text


def describe_goals(goals: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Return the goals as a table for people."""
    if not goals:
        return "No goal was set for such cases.\n"
    rows = [
        [
            goal["text"],
            goal["case"],
            f"{goal['figure']:.2f}",
            f"{goal['limit']:g}",
            "met" if goal["met"] else "missed",
        ]
        for goal in goals
    ]
    return _table(("goal", "case", "figure", "at most", "verdict"), rows, markdown) + "\n"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Return a table, text to the left and numbers to the right."""
    if markdown:
        lines = [header, ["---"] * len(header), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [
        not column[-1][:1].isdigit() and column[-1] != "–" for column in zip(*rows, strict=True)
    ]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )
