# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The same linear systems solved by several methods, side by side in one run.

Every system is assembled once a round and handed to all methods in turn; the
method that begins moves on by one each round, so that none always finds the
matrix cold or the machine at its best.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kryloset.config import SolverConfig
from kryloset.krylov import (
    Automatic,
    SequenceSolver,
    Solver,
    SolveResult,
    State,
)
from kryloset.problems import Discretisation, Family, Instance
from kryloset.progress import track
from kryloset.run.solver import fixed_solver, make_solver

if TYPE_CHECKING:
    from petsc4py import PETSc

#: Names of preconditioners that are no acronyms.
PRECONDITIONERS = {"none": "", "jacobi": "Jacobi", "bjacobi": "block Jacobi"}
#: Quantities whose medians over the instances are kept.
MEDIANS = ("iterations", "operator_applications", "preconditioner_applications", "seconds")


@dataclass(frozen=True)
class Method:
    """A solver in a comparison, and how it goes through the instances.

    Attributes:
        name: Key in the results.
        label: What people call it.
        solver: What solves the systems.
        carries: Whether the solver's state goes from one instance to the next.
        order: `solving`, or `given` for the order in which the same instances were drawn.
    """

    name: str
    label: str
    solver: Solver[Any]
    carries: bool = True
    order: Literal["solving", "given"] = "solving"


def in_turn[T](methods: Sequence[T], place: int) -> tuple[T, ...]:
    """Return the methods in the order in which they meet a place of the sequence.

    The one that begins moves on by one each place, so that none always finds the matrix cold.
    """
    shift = place % len(methods)
    return (*methods[shift:], *methods[:shift])


@dataclass
class Record:
    """What one method needed for one instance, its linear systems taken together.

    Counts and seconds are sums over the systems, the residual is the largest, and
    `converged` says that all of them reached the tolerance.
    """

    instance: int
    systems: int = 0
    iterations: int = 0
    operator_applications: int = 0
    preconditioner_applications: int = 0
    seconds_setup: float = 0.0
    seconds_rebuild: float = 0.0
    seconds_iterate: float = 0.0
    true_residual: float = 0.0
    converged: bool = True

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.seconds_setup + self.seconds_rebuild + self.seconds_iterate

    def add(self, result: SolveResult) -> None:
        """Count one more system."""
        self.systems += 1
        self.iterations += result.iterations
        self.operator_applications += result.operator_applications
        self.preconditioner_applications += result.preconditioner_applications
        self.seconds_setup += result.seconds_setup
        self.seconds_rebuild += result.seconds_rebuild
        self.seconds_iterate += result.seconds_iterate
        # Not `max`, which would lose a NaN.
        self.true_residual = float(np.maximum(self.true_residual, result.true_residual))
        self.converged = self.converged and result.converged


def choose_methods(config: SolverConfig, family: Family) -> list[Method]:
    """Return what is compared for a dataset, the solver that makes the dataset first.

    Methods take tolerance, restart, recycled vectors and preconditioner from the
    configuration, but for the preconditioner of CG, which has to be symmetric. A saddle
    point is left to LU, which a singular matrix has not.
    """
    own, operator = make_solver(config, family), family.operator
    fixed = fixed_solver(config).change(refresh="always")
    direct = Method("direct", "LU", replace(fixed, method="direct"))
    if operator.saddle_point:
        # None of the preconditioners is fit for it.
        return [direct] if own == direct.solver else [_configured(config, own), direct]
    gcrodr = replace(fixed, method="gcrodr")
    name = PRECONDITIONERS.get(config.preconditioner, config.preconditioner.upper())
    suffix = name and f" + {name}"
    label = f"GCRO-DR({config.restart},{config.recycle}){suffix}"
    methods: list[Method] = [
        Method("recycled", f"{label}, recycled", gcrodr),
        Method("unsorted", f"{label}, recycled, unsorted", gcrodr, order="given"),
        Method("fresh", f"{label}, nothing recycled", gcrodr, carries=False),
        Method("gmres", f"GMRES({config.restart}){suffix}", replace(fixed, method="gmres")),
    ]
    if operator.symmetric and operator.definite:
        cg = fixed.change(method="cg", preconditioner="icc")
        # Its harvest is long, since a step of it is short: see `RecyclingCG`.
        rcg = replace(cg, method="rcg", restart=80, recycle=20)
        methods.append(Method("rcg", "recycling CG(80,20) + ICC", rcg))
        methods.append(Method("cg", "CG + ICC", cg))
    if operator.nullspace == "none":
        methods.append(direct)
    if own not in [method.solver for method in methods]:
        methods.append(_configured(config, own))
    return sorted(methods, key=lambda method: method.solver != own)


def _configured(config: SolverConfig, own: SequenceSolver | Automatic) -> Method:
    if config.method == "auto":
        return Method("configured", "Chosen automatically", own)
    name = PRECONDITIONERS.get(config.preconditioner, config.preconditioner.upper())
    reused = ", reused" if config.refresh == "rental" else ""
    suffix = f" + {name}{reused}" if name and config.method != "direct" else ""
    return Method("configured", f"{config.method.upper()}{suffix}", own)


def measure(
    discretisation: Discretisation,
    instances: Sequence[tuple[int, Instance]],
    methods: Sequence[Method],
) -> tuple[dict[str, list[Record]], list[list[str]]]:
    """Solve all instances with all methods.

    Args:
        discretisation: Assembles the systems.
        instances: Numbers and parameters, in solving order. The order `given` is
            that of the numbers.
        methods: What to compare.

    Returns:
        Records of each method in the order in which it met the instances, and the
        names of the methods as they took their turns, a list a round.
    """
    orders = {"solving": instances, "given": sorted(instances, key=lambda pair: pair[0])}
    sequences = {method.name: _Sequence(method.solver) for method in methods}
    records: dict[str, list[Record]] = {method.name: [] for method in methods}
    rounds: list[list[str]] = []
    for turn in track(range(len(instances)), "comparing methods"):
        queue = in_turn(methods, turn)
        rounds.append([])
        # The order of the method that is first in the queue goes first.
        for order in dict.fromkeys(method.order for method in queue):
            number, parameters = orders[order][turn]
            group = [method for method in queue if method.order == order]
            for method in group:
                records[method.name].append(Record(number))
                rounds[-1].append(method.name)
                if not method.carries:
                    # The KSP and its memory stay, so that only the recycled space is missing.
                    sequences[method.name].drop_space()

            discretisation.solve(parameters, _SideBySide(group, sequences, records))
    return records, rounds


class _Sequence:
    """A solver and the state that it has reached."""

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
    """A `Solve` that hands each system to all methods of a group, and returns the best solution.

    Attributes:
        methods: The group.
        sequences: What each solver has reached, by the method's name.
        records: The last of each method's is added to.
    """

    methods: Sequence[Method]
    sequences: Mapping[str, _Sequence]
    records: Mapping[str, Sequence[Record]]

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        tolerance: float = min(method.solver.tolerance for method in self.methods)
        return tolerance

    def __call__(self, operator: "PETSc.Mat", rhs: "PETSc.Vec") -> "PETSc.Vec":
        """Return x of the method with the smallest residual, of those that converged if any did."""
        results = []
        for method in self.methods:
            result = self.sequences[method.name].solve(operator, rhs)
            self.records[method.name][-1].add(result)
            results.append(result)
        best = min(results, key=lambda result: (not result.converged, result.true_residual))
        return best.solution


def summarise(
    methods: Sequence[Method], records: Mapping[str, Sequence[Record]]
) -> list[dict[str, Any]]:
    """Return what is kept of each method, ready for JSON.

    Returns:
        By method its name, label and order, `unconverged` (instances that missed the
        tolerance), `true_residual` (the largest, None if one is not finite), `median`
        (over the instances), `to_gmres` (its medians over those of GMRES, where that ran; None
        where they are 0) and
        `records` (a list a quantity).
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


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    rows = [asdict(record) | {"seconds": record.seconds} for record in records]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return columns | {"true_residual": [_finite(value) for value in columns["true_residual"]]}


def _ratio(first: float, second: float) -> float | None:
    return first / second if second else None


def _finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return float(value) if math.isfinite(value) else None
