# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Making a dataset of each family by Kryloset and by hand, from parameters to files.

For every family and size the instances are drawn and sorted by the product's own stages. Then
six methods take turns, an instance each: (a) to (d) are loops over DOLFINx as one writes them by
hand, (e) is SKR as published, and (f) what Kryloset does where nothing is configured. The one
that begins moves on by one each round, and all meet the same instances in the same order, that
of (f), but for (e), whose own order is greedy.

Seconds are the processor's, of this one thread: other work on a shared machine would stretch a
clock on the wall by several times, and by chance. What they leave out is waiting for the disk, for
which nobody waits here: what is written goes to the system's cache.

Counted for an instance are assembly (gathering the solution too), set-up, iterations and writing,
and of (e) and (f) its share of the sort; of (f) also its share of copying the journal to the
chunk's file. Compiling forms and building what the instances share is not, and is told as
`build_seconds`.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, MeshConfig, SolverConfig
from kryloset.dataset.journal import Journal
from kryloset.errors import KrylosetError
from kryloset.krylov import Automatic, SequenceSolver, solve_or_escalate
from kryloset.problems import Discretisation, Family, Instance, OperatorTraits, load_family
from kryloset.problems.registry import FAMILIES, family_class
from kryloset.progress import track
from kryloset.run import chunk as chunks
from kryloset.run import files
from kryloset.run.solver import make_solver

COUNT, QUICK_COUNT = 200, 12

BUDGET, QUICK_BUDGET = 45.0, 4.0
"""Seconds of the processor for a family at a size, checks of residuals included."""

QUICK_FAMILIES = ("darcy", "poisson", "advection_diffusion", "heat")

QUICK_POINTS = 40
"""Points a side of these in a quick run; others need those of their setting."""

TOLERANCE = 1e-8
"""On the true relative residual, for all."""

MARGIN = 0.9
"""Part of it that is asked of PETSc, so that a residual that is computed afresh holds it."""

STRICTER = 0.1
"""The same for BiCGStab(2), which PETSc preconditions from the left."""

HOPELESS, FEW = 20.0, 3
"""A method that takes that many times the fastest one's seconds gets that many instances."""

FASTER, MUCH_FASTER = 2.0, 10.0
"""Goals: how many times faster than the fastest peer, and than (a) on half of the cases."""

SAVE_EVERY = 1.0
"""Seconds from one saved state of the solver to the next."""

AT_COST = 1.1
"""What counts as the cost of a block triangular solve, in units of it."""

COLUMNS = 64
"""Right-hand sides in a block, at most."""

PARTS = ("assembly", "setup", "iterate", "write", "sort")


@dataclass(frozen=True)
class Setting:
    """How a family is discretised at its default size.

    Attributes:
        points: Points a side; of the larger size there are as many as make four times the
            unknowns.
        degree: Of the elements.
        parameters: The family's settings where its defaults would take hours.
    """

    points: int = 64
    degree: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)


SETTINGS: Mapping[str, Setting] = {
    "incompressible_elasticity": Setting(33, 2),
    # Fewer steps, and a fluid thick enough for the coarser grid.
    "navier_stokes": Setting(33, 2, {"reynolds": 200, "final_time": 0.5, "steps": 125}),
    # As many unknowns on an interval as others have on a square.
    "kuramoto_sivashinsky": Setting(2049, 1, {"final_time": 20, "steps": 200}),
}
"""Settings that differ from the default ones."""


def choose_config(family: str, scale: int, count: int, points: int | None = None) -> DatasetConfig:
    """Return the dataset of a family at a size.

    Args:
        family: One of `FAMILIES`.
        scale: 1 for the default number of unknowns, 4 for four times that.
        count: Instances.
        points: Points a side at scale 1, if not those of the family's setting.
    """
    setting = SETTINGS.get(family, Setting())
    found = family_class(family)
    cells = (setting.points if points is None else points) - 1
    cells = setting.degree * round(cells * scale ** (1 / found.dimensions[0]) / setting.degree)
    return DatasetConfig(
        family=family,
        parameters=dict(setting.parameters),
        count=count,
        chunks=1,
        # Nothing is trained on it.
        splits={"train": 1.0},
        mesh=MeshConfig(points=cells + 1, degree=2 if setting.degree == 2 else 1),
        solver=SolverConfig(tolerance=TOLERANCE),
    )


class Stages(NamedTuple):
    """What is measured of the product's stages, which lie above this package and are handed in.

    Attributes:
        sample: `kryloset.run.sample.run`.
        sort: `kryloset.run.sort.run`.
    """

    sample: Callable[..., None]
    sort: Callable[..., None]


# The methods


class Stopped(KrylosetError):
    """A method is not waited for any longer, or failed."""


@dataclass
class Account:
    """What it took to solve the systems of one instance.

    Attributes:
        deadline: Seconds of the processor's clock after which it is not waited for.
        unknowns: Rows of a system.
        systems: Linear systems.
        iterations: Of all of them.
        setup: Seconds for preconditioners and factors.
        iterate: Seconds for the rest of the solves.
    """

    deadline: float = math.inf
    unknowns: int = 0
    systems: int = 0
    iterations: int = 0
    setup: float = 0.0
    iterate: float = 0.0


class HandWritten:
    """A KSP as one sets it up by hand: the `Solve` of methods (a) to (d).

    Its tolerance is on the true residual, and an initial guess it has none.
    """

    def __init__(self, method: str, preconditioner: str, tolerance: float) -> None:
        """Choose a KSP and its PC; a factor, of `preonly`, is MUMPS's where PETSc has it."""
        self.tolerance = tolerance
        self.account = Account()
        self.way = ""
        self._method, self._preconditioner = method, preconditioner
        self._ksp: PETSc.KSP | None = None

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x.

        Raises:
            Stopped: PETSc does not converge, or it takes too long.
        """
        account = self.account
        start = time.process_time()
        if start > account.deadline:
            raise Stopped(f"given up after {account.systems} systems of an instance")
        ksp = self._ksp = self._ksp or self._make(operator)
        ksp.setOperators(operator)
        x = rhs.duplicate()
        try:
            ksp.setUp()
            # A KSP that is set up leaves a refilled matrix to the first application.
            ksp.getPC().setUp()
            middle = time.process_time()
            ksp.solve(rhs, x)
        except PETSc.Error as error:
            raise Stopped(f"PETSc's error {error.ierr}") from error
        if ksp.getConvergedReason() < 0:
            raise Stopped(
                f"does not converge: PETSc's reason {ksp.getConvergedReason()} after "
                f"{ksp.getIterationNumber():,} iterations"
            )
        account.unknowns = operator.getSize()[0]
        account.systems += 1
        account.iterations += ksp.getIterationNumber()
        account.setup += middle - start
        account.iterate += time.process_time() - middle
        return x

    def _make(self, operator: PETSc.Mat) -> PETSc.KSP:
        ksp = PETSc.KSP().create(operator.comm)
        ksp.setType(self._method)
        ksp.setTolerances(rtol=MARGIN * self.tolerance, atol=0.0, max_it=10_000)
        ksp.getPC().setType(self._preconditioner)
        if self._method == "cg":
            ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        elif self._method == "preonly":
            if PETSc.Sys.hasExternalPackage("mumps"):
                ksp.getPC().setFactorSolverType("mumps")
        elif self._method == "gmres":
            ksp.setGMRESRestart(40)
            # From the right, the residual that PETSc watches is the true one.
            ksp.setPCSide(PETSc.PC.Side.RIGHT)
        elif self._method == "bcgsl":
            # It watches the preconditioned one.
            ksp.setTolerances(rtol=STRICTER * self.tolerance)
        return ksp


class Sequential:
    """A solver of `kryloset.krylov` with its state: the `Solve` of (e) and (f)."""

    def __init__(self, solver: SequenceSolver | Automatic) -> None:
        """Begin with the state before the first system."""
        self.account = Account()
        self.state: Any = solver.init()
        self._solver = solver

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        return self._solver.tolerance

    @property
    def way(self) -> str:
        """How most of the systems were solved, where that was chosen."""
        if not isinstance(self._solver, Automatic) or not self.state.choices:
            return ""
        choices = self.state.choices
        return str(self.state.ways[max(set(choices), key=choices.count)].label)

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x.

        Raises:
            Stopped: It takes too long, or SKR does not converge.
            KrylosetError: No rung of the ladder of (f) solves the system.
        """
        account = self.account
        start = time.process_time()
        if start > account.deadline:
            raise Stopped(f"given up after {account.systems} systems of an instance")
        state = self.state.for_operator(operator)
        if isinstance(self._solver, Automatic):
            result, self.state, _ = solve_or_escalate(self._solver, operator, rhs, state)
        else:
            # The ladder is none of SKR's.
            result, self.state = self._solver.solve(operator, rhs, state)
            if not result.converged:
                raise Stopped(f"does not converge after {result.iterations:,} iterations")
        seconds = time.process_time() - start
        told = result.seconds_setup + result.seconds_rebuild + result.seconds_iterate
        # The solver's own clock is one on the wall: what it tells are shares.
        setup = seconds * result.seconds_setup / told if told else 0.0
        account.unknowns = operator.getSize()[0]
        account.systems += 1
        account.iterations += result.iterations
        account.setup += setup
        account.iterate += seconds - setup
        return result.solution


class Rows:
    """An HDF5 file with an array a field, filled a row at a time as one does by hand."""

    def __init__(self, path: Path, count: int) -> None:
        """Open the file for that many instances."""
        self._file = h5py.File(path, "w")
        self._count = count

    def write(self, row: int, fields: Instance, solve: Any) -> None:
        """Write the fields of an instance."""
        for name, values in fields.items():
            if row == 0:
                self._file.create_dataset(name, (self._count, *values.shape), values.dtype)
            self._file[name][row] = values

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class Chunk:
    """What the stage `solve` writes: a journal, the solver's state, and in the end one file."""

    def __init__(self, folder: Path, family: Family) -> None:
        """Open the journal."""
        self._journal = Journal(folder / "journal", "bench")
        self._folder = folder
        self._family = family
        self._saved = time.monotonic()

    def write(self, row: int, fields: Instance, solve: Any) -> None:
        """Append an instance to the journal; each second save the solver's state beside it."""
        record: dict[str, NDArray[Any]] = {files.INSTANCE: np.asarray(row)}
        record |= {files.field(name): np.asarray(values) for name, values in fields.items()}
        account = vars(solve.account)
        record |= {files.solver(name): np.asarray(value) for name, value in account.items()}
        self._journal.append(record)
        if time.monotonic() - self._saved > SAVE_EVERY:
            solve.state.save(self._folder / "state.npz")
            self._saved = time.monotonic()

    def finish(self) -> None:
        """Copy the journal to the chunk's file."""
        instances = np.arange(len(self._journal))
        chunk = chunks.Chunk("1-of-1", instances, self._folder / "chunk.h5")
        chunks.write_chunk(chunk, self._journal, self._family, {})
        self._journal.discard()


@dataclass(frozen=True)
class Turn:
    """What a method needed for one instance, in seconds and numbers."""

    assembly: float
    setup: float
    iterate: float
    write: float
    iterations: int
    systems: int
    true_residual: float

    @property
    def seconds(self) -> float:
        """Seconds in all, without the sort."""
        return self.assembly + self.setup + self.iterate + self.write


@dataclass
class Contestant:
    """A method at work on a family.

    Attributes:
        key: `a` to `f`.
        label: What people call it.
        discretisation: Assembles its systems.
        order: Numbers of the instances as it meets them.
        solve: Solves its systems.
        output: Takes its solutions.
        sort: Seconds of the sort, an instance.
        build: Seconds for the discretisation.
        turns: One an instance.
        note: Why there are fewer than there might be.
        running: Whether it goes on.
    """

    key: str
    label: str
    discretisation: Discretisation
    order: Sequence[int]
    solve: Any
    output: Any
    sort: float = 0.0
    build: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    note: str = ""
    running: bool = True

    @property
    def median(self) -> float:
        """Median of the seconds an instance, infinite before the first."""
        return self.sort + median(t.seconds for t in self.turns) if self.turns else math.inf

    @property
    def mean(self) -> float:
        """Their mean: first set-ups and trials count."""
        return self.sort + fmean(t.seconds for t in self.turns) if self.turns else math.inf

    def take(self, instance: Instance, check: Discretisation, limit: float) -> None:
        """Solve one more instance, write it, and check it.

        Args:
            instance: Its parameters.
            check: Computes the residual, from an assembly of its own.
            limit: Seconds after which it is not waited for.
        """
        account = self.solve.account = Account(deadline=time.process_time() + limit)
        start = time.process_time()
        try:
            solution = self.discretisation.solve(instance, self.solve)
        except KrylosetError as error:
            self._stop(str(error).splitlines()[0])
            return
        solved = time.process_time()
        self.output.write(len(self.turns), solution, self.solve)
        written = time.process_time()
        residual = check.residual(instance, solution)
        # Not "above", so that one that is no number is found too.
        if not residual <= TOLERANCE:
            self._stop(f"its residual is {residual:.1e}")
            return
        solving = account.setup + account.iterate
        self.turns.append(
            Turn(
                solved - start - solving,
                account.setup,
                account.iterate,
                written - solved,
                account.iterations,
                account.systems,
                residual,
            )
        )

    def finish(self) -> None:
        """Close its output, whose cost is shared by the instances."""
        start = time.process_time()
        self.output.finish()
        if self.turns:
            share = (time.process_time() - start) / len(self.turns)
            self.turns = [replace(turn, write=turn.write + share) for turn in self.turns]

    def _stop(self, why: str) -> None:
        self.running = False
        self.note = f"fails: {why}" if not self.turns else f"stopped: {why}"


def choose_peers(operator: OperatorTraits) -> dict[str, tuple[str, str, str]]:
    """Return label, KSP and PC of (a) to (d) for an operator, as one chooses them by hand."""
    definite = operator.symmetric and operator.definite
    factor = "cholesky" if operator.symmetric else "lu"
    peers = {
        "a": ("GMRES(40) + ILU", "gmres", "ilu"),
        "b": (f"MUMPS {'LDLᵀ' if operator.symmetric else 'LU'}", "preonly", factor),
    }
    if definite:
        peers |= {"c": ("CG + GAMG", "cg", "gamg"), "d": ("CG + ICC", "cg", "icc")}
    else:
        peers |= {
            "c": ("GMRES(40) + GAMG", "gmres", "gamg"),
            "d": ("BiCGStab(2) + ILU", "bcgsl", "ilu"),
        }
    return peers


# The measurement


def measure(config: DatasetConfig, budget: float, stages: Stages) -> list[dict[str, Any]]:
    """Return a row a method for a family at a size, and one for the block solve if A is constant.

    Args:
        config: The dataset.
        budget: Seconds of the processor after which no new round begins.
        stages: The product's.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        stages.sample(config, config.family, output=folder / "parameters.h5")
        parameters = stack.enter_context(h5py.File(folder / "parameters.h5", "r"))["parameters"]
        family, plain_family = load_family(config), load_family(config)
        plain_family.operator = replace(
            plain_family.operator, affine=False, quadratic=False, affine_rhs=False
        )
        plain, plain_build = _timed(lambda: plain_family.discretise(MPI.COMM_SELF))
        own, own_build = _timed(lambda: family.discretise(MPI.COMM_SELF))
        order, sort_seconds = _sort(config, folder, stages)
        greedy = config.model_copy(update={"sort": "greedy", "features": "parameters"})
        greedy_order, greedy_seconds = _sort(greedy, folder, stages)

        contestants = [
            Contestant(
                key,
                label,
                plain,
                order,
                HandWritten(method, preconditioner, TOLERANCE),
                Rows(folder / f"{key}.h5", config.count),
                build=plain_build,
            )
            for key, (label, method, preconditioner) in choose_peers(family.operator).items()
        ]
        skr = SequenceSolver("gcrodr", "ilu", TOLERANCE, restart=40, recycle=20)
        contestants += [
            Contestant(
                "e",
                "SKR",
                plain,
                greedy_order,
                Sequential(skr),
                Rows(folder / "e.h5", config.count),
                greedy_seconds,
                plain_build,
            ),
            Contestant(
                "f",
                "auto",
                own,
                order,
                Sequential(make_solver(config.solver, family)),
                Chunk(folder, family),
                sort_seconds,
                own_build,
            ),
        ]

        def read(number: int) -> Instance:
            return {v.name: np.asarray(parameters[v.name][number]) for v in family.parameters}

        _race(contestants, read, plain, config, budget)
        rows = _summarise(contestants, config)
        if family.operator.constant:
            singular = family.operator.nullspace != "none"
            seconds = _measure_block(plain, (read(i) for i in order), singular)
            rows.append(_block_row(rows[-1], seconds))
        return rows


def _race(
    contestants: Sequence[Contestant],
    read: Callable[[int], Instance],
    check: Discretisation,
    config: DatasetConfig,
    budget: float,
) -> None:
    """Let the methods take turns until the instances or the time are used up.

    Turns in which a method fails are not charged: they would leave fewer to the others.
    """
    spent = 0.0
    description = f"{config.family}, {config.mesh.points} points a side"
    for turn in track(range(config.count), description):
        if spent > budget:
            break
        # (b) begins: it always solves, and says what the others are measured by.
        shift = (turn + 1) % len(contestants)
        for contestant in (*contestants[shift:], *contestants[:shift]):
            if not contestant.running:
                continue
            limit = HOPELESS * min(other.median for other in contestants)
            # The very first solves load libraries.
            limit = max(limit, 5.0) if turn == 0 else math.inf
            start = time.process_time()
            contestant.take(read(contestant.order[turn]), check, limit)
            spent += time.process_time() - start if contestant.running else 0.0
        fastest = min(other.median for other in contestants)
        for contestant in contestants:
            hopeless = contestant.median > HOPELESS * fastest
            if contestant.running and hopeless and len(contestant.turns) >= FEW:
                contestant.running = False
                contestant.note = f"over {HOPELESS:g} times the fastest"
    for contestant in contestants:
        contestant.finish()


def _timed[T](make: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


def _sort(config: DatasetConfig, folder: Path, stages: Stages) -> tuple[list[int], float]:
    """Run the stage `sort`; return the order, and its seconds an instance."""
    output = folder / f"order-{config.sort}.h5"
    _, seconds = _timed(
        lambda: stages.sort(
            config, config.family, parameters=folder / "parameters.h5", output=output, chunks=1
        )
    )
    with h5py.File(output, "r") as file:
        return file["permutation"][:].tolist(), seconds / config.count


def _summarise(contestants: Sequence[Contestant], config: DatasetConfig) -> list[dict[str, Any]]:
    peers = [contestant for contestant in contestants if contestant.key != "f"]
    fastest = min(peer.median for peer in peers)
    fastest_mean = min(peer.mean for peer in peers)
    rows = []
    for contestant in contestants:
        turns = contestant.turns
        seconds = {part: _mean(turns, part) for part in PARTS if part != "sort"}
        seconds["sort"] = contestant.sort
        ways = [text for text in (contestant.solve.way, contestant.note) if text]
        rows.append(
            {
                "family": config.family,
                "points": config.mesh.points,
                "unknowns": max(one.solve.account.unknowns for one in contestants),
                "method": contestant.key,
                "label": contestant.label,
                "median_seconds": _finite(contestant.median),
                "mean_seconds": _finite(contestant.mean),
                "ratio": _finite(contestant.median / fastest),
                "ratio_mean": _finite(contestant.mean / fastest_mean),
                "iterations": _mean(turns, "iterations"),
                "systems": _mean(turns, "systems"),
                "true_residual": max((turn.true_residual for turn in turns), default=None),
                "instances": len(turns),
                "build_seconds": contestant.build,
                "seconds": seconds,
                "note": "; ".join(ways),
            }
        )
    return rows


def _mean(turns: Sequence[Turn], key: str) -> float | None:
    return fmean(getattr(turn, key) for turn in turns) if turns else None


def _finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return float(value) if math.isfinite(value) else None


# The block triangular solve


class _Full(Exception):
    """There are right-hand sides enough."""


def _measure_block(check: Discretisation, instances: Iterator[Instance], singular: bool) -> float:
    """Return the seconds of a triangular solve, a right-hand side, all in one block.

    The factor is MUMPS's or PETSc's own in the order of nested dissection, whichever is quicker.
    """
    matrix: PETSc.Mat | None = None
    columns: list[NDArray[np.float64]] = []
    direct = HandWritten("preonly", "cholesky", TOLERANCE)

    class Watch:
        tolerance = TOLERANCE

        def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
            nonlocal matrix
            matrix = matrix or operator.copy()
            columns.append(rhs.array_r.copy())
            if len(columns) == COLUMNS:
                raise _Full
            return direct(operator, rhs)

    with suppress(_Full):
        for instance in instances:
            check.solve(instance, Watch())
    assert matrix is not None
    if singular:
        # With one unknown prescribed, which is as much work.
        matrix.setNullSpace(PETSc.NullSpace().create(comm=matrix.comm))
        matrix.zeroRowsColumns([0])
    shape = (matrix.getSize()[0], len(columns))
    block = PETSc.Mat().createDense(shape, array=np.array(columns).T.copy("F"), comm=matrix.comm)
    block.assemble()
    return min(_time_block(matrix, block, package) for package in ("mumps", "petsc")) / shape[1]


def _time_block(matrix: PETSc.Mat, block: PETSc.Mat, package: str) -> float:
    """Return the median seconds of three solves, infinite where that factor is not to be had."""
    pc = PETSc.PC().create(matrix.comm)
    solution = block.duplicate()
    try:
        pc.setOperators(matrix)
        pc.setType("cholesky")
        pc.setFactorSolverType(package)
        if package == "petsc":
            pc.setFactorOrdering("nd")
        pc.setUp()
        if pc.getFailedReason() != PETSc.PC.FailedReason.NOERROR:
            return math.inf
        factor = pc.getFactorMatrix()
        factor.matSolve(block, solution)
        return median(_timed(lambda: factor.matSolve(block, solution))[1] for _ in range(3))
    except PETSc.Error:
        return math.inf
    finally:
        pc.destroy()


def _block_row(auto: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the row of the block solve, beside that of (f)."""
    systems = auto["systems"] or 0
    cost = systems * seconds
    return {
        **auto,
        "method": "block",
        "label": "block triangular solve",
        "median_seconds": cost,
        "mean_seconds": cost,
        "ratio": None,
        "ratio_mean": None,
        "iterations": None,
        "true_residual": None,
        "instances": 0,
        "build_seconds": None,
        "seconds": dict.fromkeys(PARTS, 0.0) | {"iterate": cost},
        "note": "solve alone, without assembly and writing",
    }


# Goals


@dataclass(frozen=True)
class Goal:
    """A goal and what was measured.

    Attributes:
        text: The goal, for people.
        case: Family and size.
        figure: What was measured; None where there is nothing to measure it by.
        limit: The largest figure that meets the goal.
        met: Whether it does.
        reason: Where the time of (f) goes, if it does not.
    """

    text: str
    case: str
    figure: float | None
    limit: float
    met: bool
    reason: str = ""


def judge(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Compare what was measured with the goals, family by family and size by size.

    A peer that does not solve a family has no time, and any is faster.
    """
    goals, faster = [], []
    for methods in _cases(rows):
        auto, case = methods["f"], _where(methods["f"])
        for key, mean in (("ratio", "median"), ("ratio_mean", "mean")):
            text = f"(f) / the fastest of (a) to (e), {mean}"
            goals.append(_goal(text, case, auto[key], 1 / FASTER, auto))
        if "block" in methods:
            solve = (auto["seconds"]["setup"] or 0.0) + (auto["seconds"]["iterate"] or math.inf)
            figure = solve / methods["block"]["median_seconds"]
            text = "solves of (f) / block triangular solve"
            goals.append(_goal(text, case, _finite(figure), AT_COST, auto))
        own, gmres = auto["median_seconds"], methods["a"]["median_seconds"]
        faster.append(own is not None and (gmres is None or own <= gmres / MUCH_FASTER))
    share = sum(faster) / len(faster)
    text = f"share of cases without (f) / (a) at most {1 / MUCH_FASTER:g}"
    goals.append(Goal(text, "all", 1 - share, 0.5, share >= 0.5))
    return goals


def _cases(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Mapping[str, Any]]]:
    """Return the rows of each family at each size by method."""
    cases: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["family"], row["points"]), {})[row["method"]] = row
    return list(cases.values())


def _goal(
    text: str, case: str, figure: float | None, limit: float, auto: Mapping[str, Any]
) -> Goal:
    met = figure is not None and figure <= limit
    return Goal(text, case, figure, limit, met, "" if met else _explain(auto))


def _explain(auto: Mapping[str, Any]) -> str:
    """Say where the time of (f) goes."""
    if not auto["instances"]:
        return str(auto["note"])
    parts = auto["seconds"]
    whole = sum(parts.values())
    shares = ", ".join(f"{part} {parts[part] / whole:.0%}" for part in PARTS)
    return f"{shares} of {1e3 * whole:.1f} ms; {auto['note']}"


def _where(row: Mapping[str, Any]) -> str:
    return f"{row['family']}, n = {row['unknowns']:,}"


# The whole and how it is shown


def run(
    stages: Stages,
    *,
    families: Sequence[str] = (),
    count: int | None = None,
    budget: float | None = None,
    quick: bool = False,
    show: Callable[[Sequence[Mapping[str, Any]]], None] = lambda rows: None,
) -> list[dict[str, Any]]:
    """Measure families at both sizes.

    Args:
        stages: The product's.
        families: Of `FAMILIES`; all of them if empty.
        count: Instances of each.
        budget: Seconds of the processor for each family at each size.
        quick: A few families on small grids, unless others are named.
        show: Called with the rows of each case as soon as they are there.

    Raises:
        KrylosetError: A name is not known, or a number is out of range.
    """
    chosen = families or (QUICK_FAMILIES if quick else tuple(FAMILIES))
    for name in chosen:
        if name not in FAMILIES:
            raise KrylosetError(f"family {name!r} is unknown: take some of {', '.join(FAMILIES)}")
    count = (QUICK_COUNT if quick else COUNT) if count is None else count
    budget = (QUICK_BUDGET if quick else BUDGET) if budget is None else budget
    if count < 2 or budget <= 0:
        raise KrylosetError(
            f"--count {count} --budget {budget:g}: take 2 instances or more, and some seconds"
        )
    rows: list[dict[str, Any]] = []
    for name in chosen:
        points = QUICK_POINTS if quick and name in QUICK_FAMILIES else None
        for scale in (1, 4):
            found = measure(choose_config(name, scale, count, points), budget, stages)
            show(found)
            rows += found
    return rows


HEADER = (
    "method", "instances", "median ms", "mean ms", "to the fastest peer", "by mean", "systems",
    "iterations", "residual", *(f"{part} ms" for part in PARTS), "note",
)  # fmt: skip


def describe_case(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a family at a size as a heading and a Markdown table."""
    lines = [
        f"**{_where(rows[0])}** ({rows[0]['points']} points a side)",
        "",
        f"| {' | '.join(HEADER)} |",
        f"| {' | '.join(['---'] * len(HEADER))} |",
    ]
    for row in rows:
        key = f"({row['method']}) " if len(row["method"]) == 1 else ""
        cells = [
            f"{key}{row['label']}",
            str(row["instances"] or "–"),
            _number(row["median_seconds"], ".2f", 1e3),
            _number(row["mean_seconds"], ".2f", 1e3),
            _number(row["ratio"], ".2f"),
            _number(row["ratio_mean"], ".2f"),
            _number(row["systems"], ".1f"),
            _number(row["iterations"], ".1f"),
            _number(row["true_residual"], ".1e"),
            *(_number(row["seconds"][part], ".2f", 1e3) for part in PARTS),
            row["note"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def describe_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return median milliseconds an instance as a Markdown table with a line a case."""
    lines = [
        "| family | n | (a) | (b) | (c) | (d) | (e) | (f) | (f) / fastest | by mean | (f) by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for methods in _cases(rows):
        auto = methods["f"]
        medians = [_number(methods[key]["median_seconds"], ".1f", 1e3) for key in "abcdef"]
        ratios = [_number(auto[key], ".2f") for key in ("ratio", "ratio_mean")]
        cells = [auto["family"], f"{auto['unknowns']:,}", *medians, *ratios, auto["note"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def describe_goals(goals: Sequence[Goal]) -> str:
    """Return the goals as a Markdown table."""
    lines = [
        "| goal | case | figure | at most | verdict | where the time of (f) goes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for goal in goals:
        verdict = "met" if goal.met else "missed"
        figure = _number(goal.figure, ".2f")
        cells = (goal.text, goal.case, figure, f"{goal.limit:g}", verdict, goal.reason)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "–" if value is None else format(factor * value, form)
