# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What are sorting, recycling and reused factors worth, each without the others?

The systems of a reference sequence, put in several orders, are solved with nothing carried from one
to the next, with a recycled subspace, and with the factor of a reference system. All combinations
take turns, a system each. Milliseconds are the processor's. All methods have solved one system
beforehand, in which libraries are loaded.
`docs/measurements/ablation.md` says what is combined.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import Any, cast

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.goals import check_names
from kryloset.bench.harness import Contestant, Deltas, race, warm_up
from kryloset.bench.sequences import DEFINITE, Operator, make_sequence
from kryloset.bench.tables import Row
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver
from kryloset.ordering import ORDERS, cluster, partition, steps
from kryloset.ordering.features import cosines
from kryloset.run.comparison import Method

type Array = NDArray[np.float64]
type Integers = NDArray[np.int64]

SEQUENCES = ("darcy", "wind")

ARRANGEMENTS = ("given", "greedy", "hilbert", "or_opt", "clusters")
"""Orders: of `ORDERS`, and cluster by cluster."""

LOOKS = 5
"""Systems at which delta is looked at, the same ones in all orders."""


def choose_methods(kind: str, references: Sequence[int], tolerance: float) -> list[Method]:
    """Return what solves a sequence; names say what is recycled, labels what is reused.

    `references` are the places in the order whose systems get a factor, where that is settled
    beforehand.
    """
    if kind in DEFINITE:
        plain = SequenceSolver("cg", "icc", tolerance)
        recycling = SequenceSolver("rcg", "icc", tolerance, restart=80, recycle=20)
        reusing = partial(SequenceSolver, "cg", "cholesky", tolerance)
    else:
        # The same cycles as those of GCRO-DR, with nothing carried.
        plain = SequenceSolver("gmresdr", "ilu", tolerance, restart=40, recycle=20)
        recycling = SequenceSolver("gcrodr", "ilu", tolerance, restart=40, recycle=20)
        reusing = partial(SequenceSolver, "gmres", "lu", tolerance)
    each = f"{plain.preconditioner} each"
    rental, fixed = reusing(refresh="rental"), reusing(refresh=tuple(references))
    reused = f"{rental.preconditioner} reused"
    return [
        Method("none", each, plain),
        Method(f"{recycling.method}({recycling.restart},{recycling.recycle})", each, recycling),
        Method("none", f"{reused}, ski rental", rental),
        Method("none", f"{reused}, {len(references)} fixed", fixed),
    ]


def arrange(name: str, features: Array, references: int) -> tuple[Integers, list[int]]:
    """Return an order and the places in it of several reference systems.

    Cluster by cluster, by k-medoids, the references are the medoids, and a system uses the factor
    of the nearest of them. In other orders they are the first ones of equal chunks. The places
    ascend from 0; features have the shape (systems, numbers).
    """
    if name != "clusters":
        return ORDERS[name](features), partition(len(features), references)[:-1].tolist()
    medoids, labels = cluster(features, references)
    order: list[int] = []
    places = []
    for label, medoid in enumerate(medoids.tolist()):
        places.append(len(order))
        members = np.flatnonzero(labels == label)
        order += [medoid, *members[members != medoid].tolist()]
    return np.array(order), places


def measure(
    kind: str, size: int, count: int, references: int, tolerance: float = 1e-8
) -> list[Row]:
    """Return a row for each method in each order, with so many clusters or reference systems.

    `made` counts preconditioners, `neighbours` are the mean iterations of the systems that used
    another's factor, and `to_given` is the length of the path over that of the given order. `delta`
    is the mean at a few systems before they are solved, None where nothing is recycled or ARPACK
    finds no wanted space.

    Raises:
        KrylosetError: There are fewer systems than references, or than 2.
    """
    if not 1 <= references <= count or count < 2:
        raise KrylosetError(
            f"{count} systems cannot have {references} references: take at least 2 systems, and 1 "
            "reference to as many as there are systems"
        )
    systems = make_sequence(kind, size, count, drawn=count)
    operator = Operator(systems, MPI.COMM_SELF)
    warm_up(choose_methods(kind, [0], tolerance), operator.mat, operator.rhs)
    features = cosines(systems.parameters)
    given = float(steps(features, np.arange(count)).sum())
    contestants: list[Contestant] = []
    for name in ARRANGEMENTS:
        arrange(name, features, references)
        began = time.process_time()
        order, places = arrange(name, cosines(systems.parameters), references)
        sorting = time.process_time() - began
        for method in choose_methods(kind, places, tolerance):
            about = {
                "sequence": kind,
                "unknowns": size**2,
                "systems": count,
                "order": name,
                "recycle": method.name,
                "reuse": method.label,
                "sort_ms": 0.0 if name == "given" else 1e3 * sorting / count,
                "to_given": float(steps(features, order).sum()) / given,
            }
            contestants.append(Contestant(method, order.tolist(), about=about))
    stride = max(1, count // LOOKS)
    deltas = Deltas(range(stride // 2, count, stride))
    neighbours: dict[Contestant, list[int]] = {one: [] for one in contestants}

    def look(one: Contestant, system: int, operator: PETSc.Mat, before: Any) -> None:
        deltas(one, system, operator, before)
        reused = before is not None and before.reference is not None
        if reused and one.state.refreshes == before.refreshes:
            neighbours[one].append(one.turns[-1].iterations)

    title = f"measuring {kind}, n = {size**2:,}"
    race(contestants, operator.load, range(count), look=look, description=title)
    return [_make_row(one, neighbours[one]) | {"delta": deltas.mean(one)} for one in contestants]


def _make_row(one: Contestant, neighbours: Sequence[int]) -> Row:
    own = cast(SequenceSolver, one.method.solver).refresh == "always"
    return one.to_row() | {
        "made": len(one.turns) if own else len(one.state.refreshes),
        "neighbours": fmean(neighbours) if neighbours else None,
    }


def run(*, kind: Sequence[str], size: int, count: int, references: int) -> Iterator[list[Row]]:
    """Measure sequences; yield the rows of `measure` for each."""
    check_names("--kind", kind, SEQUENCES)
    for name in kind or SEQUENCES:
        yield measure(name, size, count, references)
