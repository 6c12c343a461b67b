# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Does learning help to solve the systems of a reference sequence?

Networks learn from the first systems, and all methods take turns on the others: without help, with
it, and automatic selection. Seconds are the processor's, on one thread, and those of a method
include its network's. `docs/measurements/learned.md` says what is compared.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean, median
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.bench.ensembles import TURN, Way
from kryloset.bench.goals import Goal, check_names, timed
from kryloset.bench.harness import Contestant, race, warm_up
from kryloset.bench.sequences import DEFINITE, Array, Operator, make_sequence
from kryloset.bench.sequences import Sequence as Systems
from kryloset.bench.tables import COLUMNS, Row, grouped, tabulate
from kryloset.extras import advised
from kryloset.krylov import (
    Automatic,
    SequenceSolver,
    SolverState,
    delta,
    probe_structure,
    wanted_space,
)
from kryloset.krylov.automatic.strategies import choose_strategies, judge_factors
from kryloset.progress import track
from kryloset.run.comparison import Method

with advised():
    from kryloset.learn.solving.deflation import PredictedSpace
    from kryloset.learn.solving.directions import DeepConjugateDirections, learn_directions
    from kryloset.learn.solving.fitting import predict
    from kryloset.learn.solving.guess import GuessedSolver, PredictedGuess
    from kryloset.learn.solving.policy import Statistics, StatisticsPolicy, replay

SEQUENCES = ("darcy", "wind")

SPACE = 10
"""Dimension of predicted spaces: that of the NeurKItt paper."""

MODES, BATCH, SEED = 12, 8, 0
"""Of the networks and their trainings."""

VECTORS, RESIDUALS, SYSTEMS = 200, 64, 32
"""Of the Deep Conjugate Direction Method: Ritz vectors and residuals of a system, and systems."""

PATIENCE = 4
"""How many times the steps of the other networks its network gets: it learns more slowly."""

STRATEGIES, PERIOD, STRENGTHS = 3, 40, (0.2, 2.5)
"""Of the game of the policies: strategies to choose from, and how hard the systems are, which rises
and falls with this period."""

type Help = Callable[[int, PETSc.Mat, Any], Any]
"""Returns the state that a system is solved with: from its number, A, and the state before."""


@dataclass(eq=False)
class Helped(Contestant):
    """A contestant that gets help before it solves a system.

    Attributes:
        help: What helps, if anything does.
        learning: Seconds of learning.
        quality: Of the help: the error of a guess, the delta of a space.
        taken: Seconds of the help for each system.
    """

    help: Help | None = None
    learning: float | None = None
    quality: float | None = None
    taken: list[float] = field(default_factory=list)

    def begin(self, number: int, operator: PETSc.Mat) -> Any:
        """Return the state that a system is solved with."""
        before = super().begin(number, operator)
        if self.help is None:
            return before
        found, seconds = timed(partial(self.help, number, operator, before))
        self.taken.append(seconds)
        return found

    def to_row(self) -> Row:
        """Return what the row says of it, the help too."""
        row = super().to_row()
        help_ms = 1e3 * median(self.taken) if self.taken else None
        failed = sum(not turn.converged for turn in self.turns)
        more = {"help_ms": help_ms, "learning": self.learning, "quality": self.quality}
        return row | more | {"failed": failed}


@dataclass(frozen=True, eq=False)
class Labels:
    """What networks learn from, and are measured by.

    Attributes:
        solutions: (systems, n).
        spaces: (systems, n, `SPACE`), bases of the wanted spaces of M^-1 A, with ilu.
        seconds: Of the solutions and the spaces of those to learn from.
    """

    solutions: Array
    spaces: Array
    seconds: tuple[float, float]


def make_labels(operator: Operator, train: int, count: int) -> Labels:
    """Solve all systems, and find their wanted spaces."""
    solver = SequenceSolver("gmres", "ilu", 1e-10)
    state, solutions, spaces = solver.init(), [], []
    spent = np.zeros((count, 2))
    for number in track(range(count), "solving to learn from"):
        matrix, rhs = operator.load(number)
        (result, state), spent[number, 0] = timed(partial(solver.solve, matrix, rhs, state))
        pc = state.workspace.ksp.getPC()
        # One more, for the last of them may be half of a pair of conjugate ones.
        space, spent[number, 1] = timed(partial(wanted_space, matrix, pc, SPACE + 1))
        solutions.append(result.solution.getArray().copy())
        spaces.append(space[:, :SPACE])
    first, second = spent[:train].sum(axis=0).tolist()
    return Labels(np.stack(solutions), np.stack(spaces), (first, second))


def measure(
    kind: str, size: int, train: int, count: int, steps: int, tolerance: float
) -> list[Row]:
    """Return a row for each method, with and without help."""
    systems = make_sequence(kind, size, train + count, drawn=train + count)
    operator = Operator(systems, MPI.COMM_SELF)
    labels = make_labels(operator, train, train + count)
    contestants = enter(kind, systems, labels, train, steps, tolerance)
    for one in contestants:
        one.order = range(train, train + count)
        one.about = {
            "table": "help",
            "sequence": kind,
            "unknowns": size**2,
            "systems": count,
            "method": one.method.label,
            "help": one.method.name,
        }
    fixed = [one.method for one in contestants if isinstance(one.method.solver, SequenceSolver)]
    warm_up(fixed, *operator.load(0))
    race(contestants, operator.load, range(count), description=f"measuring {kind}")
    rows = [one.to_row() for one in contestants]
    way = Way("auto", Automatic(tolerance), systems, TURN)
    for first in range(0, count - count % TURN, TURN):
        way.take(range(train + first, train + first + TURN))
    found = {key: way.to_row()[key] for key in ("ms", "iterations", "true_residual")}
    auto = contestants[0].about | {"method": f"auto, {TURN} systems at once"}
    mean = 1e3 * fmean(way.seconds)
    rows.insert(0, auto | found | {"mean_ms": mean, "seconds": count * mean / 1e3, "failed": 0})
    return [row | {"to_auto": row["ms"] / rows[0]["ms"]} for row in rows]


def enter(
    kind: str, systems: Systems, labels: Labels, train: int, steps: int, tolerance: float
) -> list[Helped]:
    """Train the networks, and return who takes part; automatic selection comes first."""
    fields = systems.parameters[:, 1:-1, 1:-1]
    grid, given = fields.shape[1:], {"modes": min(MODES, len(fields[0]) // 2), "steps": steps}
    given |= {"batch": BATCH, "seed": SEED}
    solutions = labels.solutions.reshape(-1, *grid)
    tests = range(train, len(fields))

    guess, seconds = timed(lambda: PredictedGuess.learn(fields[:train], solutions[:train], **given))
    errors = [predict(guess.operator, fields[i])[0] - solutions[i] for i in tests]
    sizes = [float(np.linalg.norm(solutions[i])) for i in tests]
    quality = fmean(float(np.linalg.norm(e)) / s for e, s in zip(errors, sizes, strict=True))
    guessed: dict[str, Any] = {
        "help": lambda number, matrix, state: guess(fields[number], matrix, state),
        "learning": labels.seconds[0] + seconds,
        "quality": quality,
    }

    space, seconds = timed(
        lambda: PredictedSpace.learn(fields[:train], labels.spaces[:train], **given)
    )
    columns = (predict(space.operator, fields[i]).reshape(SPACE, -1).T for i in tests)
    quality = fmean(delta(labels.spaces[i], one) for i, one in zip(tests, columns, strict=True))
    deflated: dict[str, Any] = {
        "help": lambda number, matrix, state: space(fields[number], matrix, state),
        "learning": labels.seconds[1] + seconds,
        "quality": quality,
    }

    def take_exact(number: int, matrix: PETSc.Mat, state: SolverState) -> SolverState:
        return replace(state.without_space(), space=np.asfortranarray(labels.spaces[number]))

    def solver(method: Any, preconditioner: Any, **more: Any) -> SequenceSolver:
        return SequenceSolver(method, preconditioner, tolerance, max_iterations=20_000, **more)

    def entry(name: str, chosen: Any, label: str = "", **more: Any) -> Helped:
        return Helped(Method(name, label or chosen.label, chosen), **more)

    definite = kind in DEFINITE
    plain, incomplete, factor = ("cg", "icc", "cholesky") if definite else ("gmres", "ilu", "lu")
    entries = [
        entry("none", Automatic(tolerance), "auto, one by one"),
        entry("none", solver(plain, factor, refresh="rental")),
        entry("guess", GuessedSolver(solver(plain, factor, refresh="rental")), **guessed),
        entry("none", solver(plain, incomplete)),
        entry("guess", GuessedSolver(solver(plain, incomplete)), **guessed),
        entry("none", solver("gmresdr", "ilu")),
        entry("recycled", solver("gcrodr", "ilu")),
        entry("predicted space", solver("gcrodr", "ilu"), **deflated),
        entry("exact space", solver("gcrodr", "ilu"), help=take_exact, quality=0.0),
    ]
    if definite:
        chosen = slice(min(train, SYSTEMS))
        network, seconds = timed(
            lambda: learn_directions(
                fields[chosen],
                systems.matrices[chosen],
                vectors=VECTORS,
                residuals=RESIDUALS,
                steps=PATIENCE * steps,
                batch=BATCH,
                seed=SEED,
            )
        )
        deep = DeepConjugateDirections(network, tolerance)
        directed: dict[str, Any] = {
            "help": lambda number, matrix, state: deep(fields[number], matrix, state),
            "learning": seconds,
        }
        entries += [
            entry("recycled", solver("rcg", "icc", restart=80)),
            entry("predicted space", solver("rcg", "icc", restart=80), **deflated),
            entry("predicted directions", deep, "flexible cg", **directed),
        ]
    return entries


def measure_policies(kind: str, size: int, turns: int, tolerance: float) -> list[Row]:
    """Return a row for each policy on a sequence whose systems become harder and easier."""
    low, high = np.log(STRENGTHS)
    phase = np.sin(2 * np.pi * np.arange(turns) / PERIOD)
    strength = np.exp((low + high) / 2 + (high - low) / 2 * phase)[:, None, None]
    systems = make_sequence(kind, size, turns, drawn=turns, strength=strength)
    operator = Operator(systems, MPI.COMM_SELF)
    strategies = choose_strategies(
        probe_structure(operator.mat),
        factors=judge_factors(operator.mat),
        tolerance=tolerance,
        max_iterations=20_000,
    )[:STRATEGIES]
    methods = [Method(one.label, one.label, one) for one in strategies]
    warm_up(methods, *operator.load(0))
    fixed = [Contestant(method, range(turns)) for method in methods]
    auto = Contestant(Method("auto", "auto", Automatic(tolerance)), range(turns))
    curves: dict[Contestant, list[list[float]]] = {one: [] for one in fixed}

    def look(contestant: Contestant, number: int, matrix: PETSc.Mat, before: Any) -> None:
        if contestant is auto:
            return
        workspace = contestant.state.workspace
        curves[contestant].append(
            workspace.ksp.getConvergenceHistory().tolist() if workspace else []
        )
        if workspace:
            workspace.ksp.setConvergenceHistory(reset=True)

    race([auto, *fixed], operator.load, range(turns), look=look, description=f"policies on {kind}")
    table = [
        [
            Statistics.of(one.turns[turn].iterations, one.turns[turn].seconds_processor, curve)
            for one, curve in ((one, curves[one][turn]) for one in fixed)
        ]
        for turn in range(turns)
    ]
    seconds = np.array([[one.seconds for one in row] for row in table])
    found = {
        "auto": sum(auto.values("seconds_processor")),
        "LinUCB without statistics": replay(StatisticsPolicy.start(len(fixed), blind=True), table)[
            1
        ],
        "LinUCB with statistics": replay(StatisticsPolicy.start(len(fixed)), table)[1],
        **{method.label: total for method, total in zip(methods, seconds.sum(0), strict=True)},
        "the fastest for each system": float(seconds.min(axis=1).sum()),
    }
    about = {"table": "policy", "sequence": kind, "unknowns": size**2, "systems": turns}
    return [
        about
        | {
            "policy": name,
            "ms": 1e3 * float(total) / turns,
            "to_auto": float(total) / found["auto"],
        }
        for name, total in found.items()
    ]


def run(
    *,
    kind: Sequence[str],
    size: int,
    train: int,
    count: int,
    steps: int,
    turns: int,
    tolerance: float,
) -> Iterator[list[Row]]:
    """Measure each sequence; yield the rows of `measure` and of `measure_policies`.

    Raises:
        KrylosetError: There is no such sequence.
        MissingLibraryError: torch is not installed.
    """
    check_names("--kind", kind, SEQUENCES)
    for name in kind or SEQUENCES:
        yield measure(name, size, train, count, steps, tolerance)
        yield measure_policies(name, size, turns, tolerance)


def describe(rows: Sequence[Row]) -> str:
    """Return the rows of a sequence as a table."""
    tables = {"help": "learned", "policy": "learned_policy"}
    groups = grouped(rows, "table").items()
    return "\n\n".join(tabulate(group, COLUMNS[tables[name]]) for (name,), group in groups)


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Ask where help pays: where it takes less time than automatic selection."""
    goals = []
    for row in rows:
        if row.get("learning") is not None:
            case = f"{row['sequence']}, {row['method']}, {row['help']}"
            goals.append(Goal("learned help / auto", case, row["to_auto"], 1.0))
        elif row["table"] == "policy" and "with statistics" in row["policy"]:
            goals.append(Goal("LinUCB / auto", row["sequence"], row["to_auto"], 1.0))
    return goals
