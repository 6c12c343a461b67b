# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compare several methods on the same linear systems in one run.

Each system is assembled once a round and solved by all methods in turn. A different method begins
each round, so that none always finds the matrix cold or the machine at its best.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kryloset.config import SolverConfig
from kryloset.krylov import Automatic, SequenceSolver, Solver, SolveResult, State
from kryloset.krylov.names import SKR
from kryloset.problems import Discretisation, Family, Instance
from kryloset.progress import track
from kryloset.run.solve_record import SolveRecord, group_size
from kryloset.run.solver import fixed_solver, make_solver

if TYPE_CHECKING:
    from petsc4py import PETSc

#: How often a method that solves systems at once has solved the first ones before it is measured.
SETTLING = 3
#: Names of preconditioners that are not acronyms.
PRECONDITIONERS = {"none": "", "jacobi": "Jacobi", "bjacobi": "block Jacobi"}
#: Quantities whose medians over the instances are reported.
MEDIANS = ("iterations", "operator_applications", "preconditioner_applications", "seconds")
#: Quantities that are reported for each instance.
COLUMNS = (
    "instance", "systems", "iterations", "operator_applications", "preconditioner_applications",
    "seconds_setup", "seconds_rebuild", "seconds_iterate", "true_residual", "converged", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """A solver in a comparison, and how it goes through the instances.

    Attributes:
        name: Key in the results.
        label: Name in tables.
        solver: What solves the systems.
        carries: Whether the solver's state goes from one instance to the next.
        order: `solving`; or of the same instances `given`, as they were drawn, or `greedy`, the
            greedy chain.
        lanes: How many systems the solver solves at once.
    """

    name: str
    label: str
    solver: Solver[Any]
    carries: bool = True
    order: Literal["solving", "given", "greedy"] = "solving"
    lanes: int = 1


def in_turn[T](methods: Sequence[T], place: int) -> tuple[T, ...]:
    """Return the methods in the order in which they solve the system at a place of the sequence.

    A different method begins at each place, so that none always finds the matrix cold.
    """
    shift = place % len(methods)
    return (*methods[shift:], *methods[:shift])


def choose_methods(config: SolverConfig, family: Family, sorted_by: str = "greedy") -> list[Method]:
    """Return the methods to compare for a dataset, its own solver first.

    Tolerance, restart, recycled vectors and preconditioner are those of the configuration, except
    that the preconditioner of CG is symmetric, and that SKR is as published. Saddle-point problems
    are compared with LU and SKR only, and singular ones without LU. Instances that are not sorted
    are not compared with unsorted ones.

    Args:
        config: The dataset's solver.
        family: Declares the operator.
        sorted_by: The order in which the dataset is solved.
    """
    own, operator = make_solver(config, family), family.operator
    fixed = fixed_solver(config).change(refresh="always", lanes=1)
    direct = Method("direct", "LU", _with_method(fixed, "direct"))
    published = SequenceSolver(
        tolerance=config.tolerance, max_iterations=config.max_iterations, **SKR
    )
    skr = Method(
        "skr",
        "SKR: GCRO-DR(40,20) + ILU, recycled",
        published,
        order="solving" if sorted_by == "greedy" else "greedy",
    )
    if operator.saddle_point:
        # No preconditioner is suitable.
        direct_first = [direct, skr]
        return direct_first if own == direct.solver else [_configured(config, own), *direct_first]
    gcrodr = _with_method(fixed, "gcrodr")
    name = PRECONDITIONERS.get(config.preconditioner, config.preconditioner.upper())
    suffix = name and f" + {name}"
    label = f"GCRO-DR({config.restart},{config.recycle}){suffix}"
    recycled = Method("recycled", f"{label}, recycled", gcrodr)
    same = (skr.solver, skr.order) == (recycled.solver, recycled.order)
    unsorted = Method("unsorted", f"{label}, recycled, unsorted", gcrodr, order="given")
    methods: list[Method] = [
        *([skr] if same else [recycled, skr]),
        *([] if sorted_by == "given" else [unsorted]),
        Method("fresh", f"{label}, nothing recycled", gcrodr, carries=False),
        Method("gmres", f"GMRES({config.restart}){suffix}", _with_method(fixed, "gmres")),
    ]
    if operator.symmetric and operator.definite:
        cg = fixed.change(method="cg", preconditioner="icc")
        # Steps of CG are cheap, so its subspace is chosen from many: see `RecyclingCG`.
        rcg = replace(_with_method(cg, "rcg"), restart=80, recycle=20)
        methods.append(Method("rcg", "recycling CG(80,20) + ICC", rcg))
        methods.append(Method("cg", "CG + ICC", cg))
    if operator.nullspace == "none":
        methods.append(direct)
    if own not in [method.solver for method in methods if method.order == "solving"]:
        methods.append(_configured(config, own))
    return sorted(methods, key=lambda method: method.solver != own)


def _with_method(solver: SequenceSolver, method: str) -> SequenceSolver:
    """Return a solver with another method, which leaves behind PETSc's options that it cannot read.

    Those of the preconditioner stay, unless a factor takes its place.
    """
    if method == solver.method:
        return solver
    kept = {} if "direct" in (method, solver.method) else solver.petsc_options
    options = {name: value for name, value in kept.items() if not name.startswith("ksp_")}
    return solver.change(method=method, petsc_options=options)


def _configured(config: SolverConfig, own: SequenceSolver | Automatic) -> Method:
    if config.method == "auto":
        return Method("configured", "Chosen automatically", own, lanes=config.width)
    name = PRECONDITIONERS.get(config.preconditioner, config.preconditioner.upper())
    reused = ", reused" if config.refresh == "rental" else ""
    suffix = f" + {name}{reused}" if name and config.method != "direct" else ""
    together = f", {config.width} at once" if config.width > 1 else ""
    label = f"{config.method.upper()}{suffix}{together}"
    return Method("configured", label, own, lanes=config.width)


def measure(
    discretisation: Discretisation,
    instances: Sequence[tuple[int, Instance]],
    methods: Sequence[Method],
    chain: Sequence[int] = (),
) -> tuple[dict[str, list[SolveRecord]], list[list[str]]]:
    """Solve all instances with all methods.

    A method that solves several systems at once has a turn for them all in the first of their
    rounds. It has solved the first of them `SETTLING` times before, since it may choose by the
    clock, and a large dataset has more groups than trials.

    Args:
        discretisation: Assembles the systems.
        instances: Number and parameters of each instance, in solving order. The order `given` is
            that of the numbers.
        methods: The methods to compare.
        chain: Places of the instances along the greedy chain, if a method asks for it.

    Returns:
        The solve records of each method in the order in which it solved the instances, and for each
        round the names of the methods in their turns.
    """
    orders = {
        "solving": instances,
        "given": sorted(instances, key=lambda pair: pair[0]),
        "greedy": [instances[place] for place in chain],
    }
    sequences = {method.name: _Sequence(method.solver) for method in methods}
    records: dict[str, list[SolveRecord]] = {method.name: [] for method in methods}
    sizes = {method.name: group_size(method.lanes, discretisation) for method in methods}

    def solve(numbered: Sequence[tuple[int, Instance]], group: Sequence[Method]) -> None:
        """Let some methods solve the same instances, each at once."""
        numbers, parameters = zip(*numbered, strict=True)
        for method in group:
            records[method.name] += [SolveRecord(number, len(numbers)) for number in numbers]
            if not method.carries:
                # The KSP and its memory stay; only the recycled subspace is dropped.
                sequences[method.name].drop_space()
        discretisation.solve(parameters, _SideBySide(group, sequences, records, len(numbers)))

    for method in methods:
        for _ in range(SETTLING if sizes[method.name] > 1 else 0):
            solve(orders[method.order][: sizes[method.name]], [method])
            records[method.name].clear()
    rounds: list[list[str]] = []
    for turn in track(range(len(instances)), "comparing methods"):
        queue = in_turn(methods, turn)
        rounds.append([])
        # The method that begins decides which order comes first.
        for order in dict.fromkeys(method.order for method in queue):
            mine = [method for method in queue if method.order == order]
            for size in dict.fromkeys(sizes[method.name] for method in mine):
                group = [method for method in mine if sizes[method.name] == size]
                if turn % size == 0:
                    rounds[-1] += [method.name for method in group]
                    solve(orders[order][turn : turn + size], group)
    return records, rounds


class _Sequence:
    """A solver with its current state."""

    def __init__(self, solver: Solver[Any]) -> None:
        self._solver = solver
        self._state: State = solver.init()

    def solve(self, operator: "PETSc.Mat", rhs: "PETSc.Vec") -> SolveResult:
        """Solve the next system."""
        before = self._state.for_operator(operator)
        result, self._state = self._solver.solve(operator, rhs, before)
        return result

    def drop_space(self) -> None:
        """Recycle nothing for the next system."""
        self._state = self._state.without_space()


@dataclass(frozen=True)
class _SideBySide:
    """A `Solve` that solves each system by all methods of a group, and returns the best solution.

    Attributes:
        methods: The group.
        sequences: Solver and state by the method's name.
        records: Solve records by the method's name; the last ones of each are added to.
        count: How many instances are solved at once.
    """

    methods: Sequence[Method]
    sequences: Mapping[str, _Sequence]
    records: Mapping[str, Sequence[SolveRecord]]
    count: int

    @property
    def tolerance(self) -> float:
        """Largest acceptable true relative residual."""
        tolerance: float = min(method.solver.tolerance for method in self.methods)
        return tolerance

    def __call__(self, operator: "PETSc.Mat", rhs: "PETSc.Vec") -> "PETSc.Vec":
        """Return x with the smallest residual, of the methods that converged if any did."""
        results = []
        for method in self.methods:
            result = self.sequences[method.name].solve(operator, rhs)
            mine = self.records[method.name][-self.count :]
            for record, found in zip(mine, result.of_each, strict=True):
                record.add(found)
            results.append(result)
        best = min(results, key=lambda result: (not result.converged, result.true_residual))
        return best.solution


def summarise(
    methods: Sequence[Method], records: Mapping[str, Sequence[SolveRecord]]
) -> list[dict[str, Any]]:
    """Return a summary of each method, ready for JSON.

    Returns:
        For each method its name, label, order and `carries`; `unconverged`, the number of
        instances that missed the tolerance; `true_residual`, the largest, or None if one is not
        finite; `median`, over the instances; `to_gmres`, its medians divided by those of GMRES if
        that ran, or None where these are 0; and `records`, a list for each of `COLUMNS`.
    """
    medians = {
        method.name: {
            key: median(getattr(record, key) for record in records[method.name]) for key in MEDIANS
        }
        for method in methods
    }
    return [
        {
            "name": method.name,
            "label": method.label,
            "order": method.order,
            "carries": method.carries,
            "unconverged": sum(not record.converged for record in records[method.name]),
            "true_residual": _finite(np.max([r.true_residual for r in records[method.name]])),
            "median": medians[method.name],
            "to_gmres": {
                key: _ratio(medians[method.name][key], medians["gmres"][key])
                for key in ("iterations", "seconds")
                if "gmres" in medians
            },
            "records": _columns(records[method.name]),
        }
        for method in methods
    ]


def _columns(records: Sequence[SolveRecord]) -> dict[str, list[Any]]:
    columns = {key: [getattr(record, key) for record in records] for key in COLUMNS}
    return columns | {"true_residual": [_finite(value) for value in columns["true_residual"]]}


def _ratio(first: float, second: float) -> float | None:
    return first / second if second else None


def _finite(value: float) -> float | None:
    """Return a number, or None if JSON cannot represent it."""
    return float(value) if math.isfinite(value) else None
