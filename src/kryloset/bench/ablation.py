# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What sorting, recycling and reused factors are worth, each without the others.

The systems of a reference sequence, put in several orders, are solved with nothing carried from
one to the next, with a recycled space, and with the factor of an owner. All ways through all
orders solve a system each in turn; the one that begins moves on by one each time. Milliseconds
are the processor's. Before anything counts all ways have solved one system, in which libraries
are loaded.

A recycled space together with an owner's factor is left out: ten iterations are fewer than the
twenty products that fit such a space to a new operator.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean, median
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.sequences import make_sequence
from kryloset.bench.solvers import DEFINITE, Operator
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver, SolverState
from kryloset.krylov.methods.invariant import delta, wanted_space
from kryloset.ordering import ORDERS, cluster, partition, steps
from kryloset.ordering.features import cosines
from kryloset.progress import track

type Array = NDArray[np.float64]
type Integers = NDArray[np.int64]

KINDS = ("darcy", "wind")

ARRANGEMENTS = ("given", "greedy", "hilbert", "or_opt", "clusters")
"""Orders: of `ORDERS`, and cluster by cluster."""

WANTED = 3
"""Eigenvectors of smallest modulus whose space delta is for, as in the paper's script."""

LOOKS = 5
"""Systems at which delta is looked at, the same ones in all orders."""


@dataclass(frozen=True)
class Way:
    """A way through a sequence: what is recycled, what is reused, and the solver."""

    recycle: str
    reuse: str
    solver: SequenceSolver


def choose_ways(kind: str, owners: Sequence[int], tolerance: float) -> list[Way]:
    """Return the ways through a sequence.

    Args:
        kind: Of the sequence.
        owners: Places in the order whose systems get a factor, where that is settled beforehand.
        tolerance: On the true relative residual.
    """
    places = tuple(owners)
    if kind in DEFINITE:
        plain = SequenceSolver("cg", "icc", tolerance)
        recycling = SequenceSolver("rcg", "icc", tolerance, restart=80, recycle=20)
        reusing = partial(SequenceSolver, "cg", "cholesky", tolerance)
        name = "rcg(80,20)"
    else:
        # The same cycles as those of GCRO-DR, with nothing carried.
        plain = SequenceSolver("gmresdr", "ilu", tolerance, restart=40, recycle=20)
        recycling = SequenceSolver("gcrodr", "ilu", tolerance, restart=40, recycle=20)
        reusing = partial(SequenceSolver, "gmres", "lu", tolerance)
        name = "gcrodr(40,20)"
    each = f"{plain.preconditioner} each"
    rental, fixed = reusing(refresh="rental"), reusing(refresh=places)
    owned = f"owner's {rental.preconditioner}"
    return [
        Way("none", each, plain),
        Way(name, each, recycling),
        Way("none", f"{owned}, by rental", rental),
        Way("none", f"{owned}, {len(places)} fixed", fixed),
    ]


def arrange(name: str, features: Array, owners: int) -> tuple[Integers, list[int]]:
    """Return an order and the places in it of several owners.

    Cluster by cluster, by k-medoids, the owners are the medoids, and a system uses the factor
    of the nearest of them. In other orders they are the first ones of equal chunks.

    Args:
        name: Of `ARRANGEMENTS`.
        features: (systems, numbers).
        owners: How many.

    Returns:
        A permutation of the systems, and ascending places, the first of them 0.
    """
    if name != "clusters":
        return ORDERS[name](features), partition(len(features), owners)[:-1].tolist()
    medoids, labels = cluster(features, owners)
    order: list[int] = []
    places = []
    for number, medoid in enumerate(medoids.tolist()):
        places.append(len(order))
        members = np.flatnonzero(labels == number)
        order += [medoid, *members[members != medoid].tolist()]
    return np.array(order), places


def measure(
    kind: str, size: int, count: int, owners: int = 5, tolerance: float = 1e-8
) -> list[dict[str, Any]]:
    """Return a row a way and an order.

    Args:
        kind: Of the sequence.
        size: Points a side.
        count: Systems.
        owners: Clusters, and owners where their places are settled beforehand.
        tolerance: On the true relative residual.

    Returns:
        Rows with `sequence`, `unknowns`, `systems`, `order`, `recycle`, `reuse`; `made`,
        preconditioners; `iterations`, the mean, and `neighbours`, that of the systems that used
        another's factor; `ms` and `mean_ms`, median and mean of a system; `sort_ms` of an
        instance, features included; `to_given`, length of the path over that of the given
        order; `delta`, its mean at a few systems before they are solved, None where nothing is
        recycled or ARPACK finds no wanted space; `true_residual`, the largest.

    Raises:
        KrylosetError: There are fewer systems than owners, or than 2.
    """
    if not 1 <= owners <= count or count < 2:
        raise KrylosetError(
            f"{count} systems cannot have {owners} owners: take at least 2 systems, and 1 owner "
            "to as many as there are systems"
        )
    systems = make_sequence(kind, size, count, drawn=count)
    operator = Operator(systems, MPI.COMM_SELF)
    for way in choose_ways(kind, [0], tolerance):
        way.solver.solve(operator.mat, operator.rhs, way.solver.init())
    given = float(steps(cosines(systems.parameters), np.arange(count)).sum())
    common = []
    runs = []
    for name in ARRANGEMENTS:
        arrange(name, cosines(systems.parameters), owners)
        start = time.process_time()
        features = cosines(systems.parameters)
        order, places = arrange(name, features, owners)
        sorting = 0.0 if name == "given" else time.process_time() - start
        ways = choose_ways(kind, places, tolerance)
        runs += [_Run(way, order.tolist(), way.solver.init()) for way in ways]
        row = {
            "sequence": kind,
            "unknowns": size**2,
            "systems": count,
            "order": name,
            "sort_ms": 1e3 * sorting / count,
            "to_given": float(steps(features, order).sum()) / given,
        }
        common += [row] * len(ways)
    stride = max(1, count // LOOKS)
    wanted: dict[int, Array | None] = dict.fromkeys(range(stride // 2, count, stride))
    for place in track(range(count), f"measuring {kind}, n = {size**2:,}"):
        shift = place % len(runs)
        for run in (*runs[shift:], *runs[:shift]):
            run.solve(operator, place, wanted)
    return [about | run.summarise() for about, run in zip(common, runs, strict=True)]


@dataclass
class _Run:
    """One way through one order, and what its systems have cost so far."""

    way: Way
    order: list[int]
    state: SolverState
    seconds: list[float] = field(default_factory=list)
    neighbours: list[int] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    residual: float = 0.0

    def solve(self, operator: Operator, place: int, wanted: dict[int, Array | None]) -> None:
        """Solve the system at a place of the order; a wanted space that is not there is found."""
        system, before = self.order[place], self.state
        operator.fill(system)
        start = time.process_time()
        result, after = self.way.solver.solve(operator.mat, operator.rhs, before)
        self.seconds.append(time.process_time() - start)
        self.residual = max(self.residual, result.true_residual)
        self.state = after
        if before.owner is not None and after.refreshes == before.refreshes:
            self.neighbours.append(result.iterations)
        if system in wanted and before.space is not None and after.workspace is not None:
            with suppress(KrylosetError):
                basis = wanted[system]
                if basis is None:
                    pc = after.workspace.ksp.getPC()
                    basis = wanted[system] = wanted_space(operator.mat, pc, WANTED)
                self.angles.append(delta(basis, before.space))

    def summarise(self) -> dict[str, Any]:
        """Return what a row says about the solves."""
        count = len(self.order)
        own = self.way.solver.refresh == "always"
        return {
            "recycle": self.way.recycle,
            "reuse": self.way.reuse,
            "made": count if own else len(self.state.refreshes),
            "iterations": self.state.iterations / count,
            "neighbours": fmean(self.neighbours) if self.neighbours else None,
            "ms": 1e3 * median(self.seconds),
            "mean_ms": 1e3 * fmean(self.seconds),
            "delta": fmean(self.angles) if self.angles else None,
            "true_residual": self.residual,
        }


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as Markdown."""
    heading = (
        *("sequence", "n", "order", "recycle", "preconditioner", "made", "iterations"),
        *("of neighbours", "ms, median", "ms, mean", "sort ms", "path / given", "delta"),
        "residual",
    )
    lines = [
        f"| {' | '.join(heading)} |",
        "| --- | ---: | --- | --- | --- |" + 9 * " ---: |",
    ]
    for row in rows:
        cells = [
            *(row["sequence"], f"{row['unknowns']:,}", row["order"], row["recycle"]),
            *(row["reuse"], str(row["made"]), f"{row['iterations']:.1f}"),
            "–" if row["neighbours"] is None else f"{row['neighbours']:.1f}",
            *(f"{row['ms']:.2f}", f"{row['mean_ms']:.2f}"),
            *(f"{row['sort_ms']:.2f}", f"{row['to_given']:.2f}"),
            "–" if row["delta"] is None else f"{row['delta']:.3f}",
            f"{row['true_residual']:.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
