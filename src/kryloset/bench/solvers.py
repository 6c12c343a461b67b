# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How do the solvers compare on the reference sequences, and which goals do they meet?

Every system is put into one Mat again for each method in turn. Mean iterations and applications are
over all systems, as published counts are. Medians of time leave out the first system of a round,
which has nothing to recycle and creates the KSP. Ratios are of medians of the same run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean, median
from typing import Any, Literal, cast, get_args

from mpi4py import MPI

import numpy as np

from kryloset.bench.goals import Goal, check_names, finite
from kryloset.bench.harness import Contestant, Turn, race, warm_up
from kryloset.bench.sequences import DEFINITE, DRAWN, KINDS, SEED, Operator, make_sequence
from kryloset.bench.sequences import Sequence as Systems
from kryloset.bench.tables import COLUMNS, Row, grouped, tabulate
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver
from kryloset.krylov.names import Preconditioner
from kryloset.ordering import greedy_chain
from kryloset.run.comparison import Method

PRECONDITIONERS = ("none", "sor", "ilu")
"""Those that the reference counts are for."""

SIZES = {"darcy": 100, "scaled": 100, "published": 50, "published_helmholtz": 50, "wind": 100}
"""Interior points a side for which they are; there are none for `published_helmholtz`."""

SYSTEMS, TOLERANCE = 20, 1e-8
"""Systems and tolerance for which they are."""

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

OWN = ("gcrodr", "unsorted", "gcrodr10", "gmresdr", "own_gmres", "rcg", "rbicgstab")
"""Names of this project's methods."""

ITERATION_LIMIT = 20_000

GAMG_LIMIT = 200
"""Where multigrid needs more, it has failed; its iterations are expensive."""

LARGE_SIZE, LARGE_SYSTEMS, LARGE_TOLERANCE = 316, 4, 1e-4
"""The sequence of n = 1e5, there for the cost of an iteration, which a loose tolerance shows."""


def choose_methods(
    kind: str, preconditioner: str, tolerance: float
) -> tuple[list[Method], list[str]]:
    """Return what is compared on a kind of sequence, PETSc's GMRES(40) first.

    CG gets icc where the others get ilu. Multigrid and LU are there for comparison. The labels of
    methods that `SequenceSolver` does not offer here come second.
    """
    given: dict[str, Any] = {"restart": 40, "recycle": 20, "max_iterations": ITERATION_LIMIT}
    gmres = SequenceSolver("gmres", cast(Preconditioner, preconditioner), tolerance, **given)
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
    rows += [("gamg", f"PETSc {outer_label} + GAMG", gamg), ("direct", "LU", {"method": "direct"})]
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


def measure(
    systems: Systems,
    methods: Sequence[Method],
    *,
    rounds: int = 1,
    comm: MPI.Comm = MPI.COMM_SELF,
    description: str = "measuring",
) -> dict[str, list[list[Turn]]]:
    """Solve all systems with all methods, and return turns by method and round. Collective."""
    count = len(systems.matrices)
    chain = greedy_chain(systems.parameters.reshape(count, -1)).tolist()
    orders = {"solving": chain, "given": list(range(count))}
    operator = Operator(systems, comm)
    turns: dict[str, list[list[Turn]]] = {method.name: [] for method in methods}
    warm_up(methods, *operator.load(chain[0]))
    for this in range(rounds):
        contestants = [Contestant(method, orders[method.order]) for method in methods]
        # In another round another method begins with the first system.
        race(contestants, operator.load, range(count), first=this, description=description)
        for contestant in contestants:
            turns[contestant.method.name].append(contestant.turns)
    return turns


COUNTS = ("iterations", "operator_applications", "preconditioner_applications")
PARTS = ("setup", "rebuild", "iterate")
SECONDS = tuple(f"seconds_{part}" for part in PARTS)


def summarise(
    methods: Sequence[Method], turns: Mapping[str, Sequence[Sequence[Turn]]]
) -> list[Row]:
    """Return a row of figures for each method.

    Means are over all systems (`..._mean`), medians over those that are not the first of a round
    (`ms...` a system, `us_iteration...` an iteration, alone and with the rebuilding of the space
    spread over the iterations). `to_gmres...` are the latter over those of PETSc's GMRES, None
    where the preconditioner is another, and `records` has a list a quantity.
    """
    rows: list[Row] = []
    for method in methods:
        every = [turn for run in turns[method.name] for turn in run]
        later = [turn for run in turns[method.name] for turn in run[1:]]
        values = {
            key: [getattr(turn, key) for turn in every] for key in ("instance", *COUNTS, *SECONDS)
        }
        steps = [max(turn.iterations, 1) for turn in later]
        alone = [turn.seconds_iterate for turn in later]
        rebuilt = [turn.seconds_iterate + turn.seconds_rebuild for turn in later]
        row = {
            "name": method.name,
            "label": method.label,
            "solver": asdict(cast(SequenceSolver, method.solver)),
            **{f"{key}_mean": fmean(values[key]) for key in COUNTS},
            "ms": 1e3 * median(turn.seconds for turn in later),
            **{f"ms_{p}": 1e3 * median(getattr(t, f"seconds_{p}") for t in later) for p in PARTS},
            "us_iteration": 1e6 * median(np.divide(alone, steps).tolist()),
            "us_iteration_rebuild": 1e6 * median(np.divide(rebuilt, steps).tolist()),
            "true_residual_max": finite(np.max([turn.true_residual for turn in every])),
            "failures": sum(not turn.converged for turn in every),
            "records": values,
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
) -> list[Row]:
    """Return the rows of `summarise` for one sequence with one preconditioner, and what it is."""
    methods, refused = choose_methods(kind, preconditioner, tolerance)
    methods = [method for method in methods if not names or method.name in names]
    systems = make_sequence(kind, size, count, drawn=max(drawn, count))
    title = f"measuring {kind}, n = {size**2:,}, {preconditioner}"
    turns = measure(systems, methods, rounds=rounds, comm=comm, description=title)
    case = {
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
        "not_offered": [] if names else refused,
    }
    return [case | row for row in summarise(methods, turns)]


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare what was measured with the goals.

    They were set for one process: iterations are judged where HPDDM's are known, times from
    10,000 unknowns on.
    """
    judged = [row for row in rows if row["processes"] == 1]
    goals = []
    for case in grouped(judged, "kind", "preconditioner", "size", "tolerance").values():
        methods = {row["name"]: row for row in case}
        goals += _judge_iterations(methods["gcrodr"])
        if case[0]["unknowns"] >= 10_000:
            goals += _judge_times(methods)
    return goals


def _judge_iterations(row: Row) -> list[Goal]:
    key = (row["kind"], row["preconditioner"])
    here = [row[name] for name in ("size", "systems", "drawn", "seed", "tolerance")]
    if key not in HPDDM or here != [SIZES[row["kind"]], SYSTEMS, DRAWN, SEED, TOLERANCE]:
        return []
    ratio = None if row["failures"] else row["iterations_mean"] / HPDDM[key]
    return [Goal("iterations, GCRO-DR(40,20) / HPDDM", _where(row), ratio, 1.1)]


def _judge_times(methods: Mapping[str, Row]) -> list[Goal]:
    gcrodr, own = methods["gcrodr"], methods["own_gmres"]
    where, text = _where(gcrodr), "an iteration, GCRO-DR(40,20) / PETSc GMRES(40)"
    goals = [
        Goal(text, where, gcrodr["to_gmres"], 2.0),
        Goal(f"{text}, rebuilding included", where, gcrodr["to_gmres_rebuild"], 2.0),
        Goal("an iteration, own GMRES(40) / PETSc GMRES(40)", where, own["to_gmres"], 1.15),
    ]
    races = {("darcy", "ilu"): ("cg", ["rcg"]), ("wind", "ilu"): ("bicgstab", OWN)}
    rival, names = races.get((gcrodr["kind"], gcrodr["preconditioner"]), ("", ()))
    runners = [methods[name] for name in names if name in methods]
    if rival in methods and runners:
        # Who fails is out of the race.
        best = min(runners, key=lambda row: (row["failures"], row["ms"]))
        other = methods[rival]
        text = f"time a system, {best['label']} / {other['label']}"
        figure = None if best["failures"] else best["ms"] / other["ms"]
        goals.append(Goal(text, where, figure, 1.0))
    return goals


def _where(row: Row) -> str:
    return f"{row['kind']}, n = {row['unknowns']:,}, {row['preconditioner']}"


def run(
    *,
    kind: Sequence[str],
    preconditioner: Sequence[str],
    size: int | None,
    count: int,
    rtol: float,
    rounds: int,
    large: bool,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Iterator[list[Row]]:
    """Measure all cases, and yield the rows of each. Collective.

    Raises:
        KrylosetError: for a name that is not known or a number out of range.
    """
    check_names("--kind", kind, tuple(KINDS))
    check_names("--preconditioner", preconditioner, get_args(Preconditioner))
    if not 0 < rtol < 1:
        raise KrylosetError(f"--rtol must lie between 0 and 1, got {rtol}")
    given: dict[str, Any] = {"count": count, "tolerance": rtol, "rounds": rounds}
    for name in kind or KINDS:
        for chosen in preconditioner or PRECONDITIONERS:
            yield measure_case(name, chosen, size=size or SIZES[name], **given, comm=comm)
    given = {"count": LARGE_SYSTEMS, "drawn": LARGE_SYSTEMS, "tolerance": LARGE_TOLERANCE}
    for chosen in preconditioner or PRECONDITIONERS if large else ():
        names = ("gmres", "gcrodr", "own_gmres")
        yield measure_case("darcy", chosen, size=LARGE_SIZE, **given, names=names, comm=comm)


def describe(rows: Sequence[Row]) -> str:
    """Return a case as a heading and a table."""
    case = rows[0]
    published = case["kind"].startswith("published")
    sort = " (benchmark only: the SKR paper's published script)" if published else ""
    processes = "" if case["processes"] == 1 else f", {case['processes']} processes"
    heading = (
        f"{_where(case)}{sort}: {case['systems']} systems, rtol {case['tolerance']:g}, "
        f"{case['rounds']} round{'s' * (case['rounds'] > 1)}{processes}"
    )
    text = f"{heading}\n\n{tabulate(rows, COLUMNS['solvers'])}\n"
    if case["not_offered"]:
        text += f"\nnot offered here: {', '.join(case['not_offered'])}\n"
    return text
