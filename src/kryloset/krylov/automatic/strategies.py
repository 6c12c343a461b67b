# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The strategies that suit a kind of matrix."""

import math
from typing import Any, Literal

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.solver import SequenceSolver
from kryloset.krylov.structure import FACTOR_LIMIT, Structure

FALLBACKS = 2
"""Strategies of systems one after another that are kept beside those of ensembles."""

FRONT = 2.5
"""Largest bandwidth, after reverse Cuthill-McKee, at which factors are among the strategies.

It is in units of the root of the number n of rows. The bandwidth is about the size of the largest
dense block in a factor. It is 1 for linear elements on a square, 2 for quadratic ones, and
3 n^(1/6) / 4 in a cube, where applying a factor takes longer than iterating with an incomplete
one."""

LIGHT = 15.0
"""Cube of that bandwidth, for each entry of the matrix, up to which ensembles factor in less
time than multigrid.

A factor by nested dissection takes about 10 operations times that cube, a cycle some for each
entry. In a plane the quotient grows as the root of n: it is 13 for darcy on 64 x 64 points and
18 for elasticity, where the one or the other takes a quarter less."""

type Factors = Literal["light", "sparse", "dense"]
"""What factors of a matrix are: less work than multigrid, cheap to apply, or neither."""


def choose_strategies(
    structure: Structure,
    *,
    factors: Factors,
    tolerance: float,
    max_iterations: int,
    multigrid: bool = False,
    lanes: int = 1,
) -> tuple[SequenceSolver, ...]:
    """Return the strategies for a kind of matrix, the most promising first.

    Args:
        structure: the structure of the matrices.
        factors: what `judge_factors` says of them.
        tolerance: as for `SequenceSolver`.
        max_iterations: as for `SequenceSolver`.
        multigrid: whether the matrices carry interpolations (`has_interpolations`).
        lanes: of the ensembles that are to be solved; 1 for systems one after another.
    """
    together = [] if lanes == 1 else _together(structure, factors, multigrid)
    alone = _alone(structure, factors != "dense", multigrid)
    rows = [row | {"lanes": lanes} for row in together] + alone[: FALLBACKS if together else None]
    return tuple(
        SequenceSolver(tolerance=tolerance, max_iterations=max_iterations, **row) for row in rows
    )


def _together(structure: Structure, factors: Factors, multigrid: bool) -> list[dict[str, Any]]:
    """Return the strategies of ensembles, whose factors need no pivots."""
    method = "cg" if structure.definite else "gmres"
    factor = {"method": method, "preconditioner": "cholesky" if structure.symmetric else "lu"}
    cycle = {"method": "cg", "preconditioner": "multigrid"}
    icc = {"method": "cg", "preconditioner": "icc"}
    if not structure.definite or (structure.constant and factors != "dense"):
        return [factor]
    cycles = [cycle] if multigrid else []
    if factors == "light":
        return [factor, *cycles]
    if factors == "sparse" or structure.constant:
        return [*cycles, factor]
    # In space multigrid was the fastest.
    return cycles or [icc, factor]


def _alone(structure: Structure, factors: bool, multigrid: bool) -> list[dict[str, Any]]:
    """Return the strategies of systems one after another."""
    factor = "cholesky" if structure.symmetric else "lu"
    direct: dict[str, Any] = {"method": "direct", "preconditioner": factor}
    geometric: dict[str, Any] = {"method": "cg", "preconditioner": "multigrid"}
    icc: dict[str, Any] = {"method": "cg", "preconditioner": "icc"}
    # Levels of fill are worthwhile in a plane. In space they grow too large, and sweeps of sor
    # need no set-up.
    filled = icc | {"fill": 2}
    swept: dict[str, Any] = {"method": "cg", "preconditioner": "sor", "omega": 1.5}
    gamg: dict[str, Any] = {"method": "cg", "preconditioner": "gamg", "refresh": "rental"}
    general: list[dict[str, Any]] = [
        {"method": method} for method in ("bicgstab", "rbicgstab", "gcrodr", "gmres")
    ]
    # PETSc's own factor of each matrix, or of all systems with a matrix: it is made faster than
    # one of MUMPS up to some 20,000 rows, and applied faster.
    own: dict[str, Any] = {
        "method": "cg" if structure.definite else "gmres",
        "preconditioner": "cholesky" if structure.definite else "lu",
    }
    reference = own | {"refresh": "rental"}
    if structure.saddle_point:
        if structure.constant:
            # A guess takes less time than a solve with MUMPS's factor, and is often good enough.
            direct["guess"] = "projection"
        return [{**direct, "preconditioner": "lu"}, direct] if structure.symmetric else [direct]
    rows: list[dict[str, Any]]
    if structure.singular and structure.definite:
        # The last pivot of a factor is only rounding. This does no harm in methods that know the
        # null space. If it is negative, the method fails, and another one solves the system.
        rows = [*([own] if structure.constant else []), *([geometric] if multigrid else [])]
        return [*rows, icc, gamg]
    if structure.singular:
        return general
    if structure.constant:
        # A factor is best if many systems share a matrix, icc if that is nearly diagonal. In a
        # narrow band an incomplete factor is a complete one. MUMPS alone has pivots.
        return [own, icc, reference] if structure.definite else [own, {"method": "gmres"}, direct]
    if structure.definite:
        if factors:
            return [geometric, reference, filled] if multigrid else [reference, own, filled]
        return [geometric, swept, icc] if multigrid else [icc, gamg]
    if not factors:
        # Incomplete factors may fail here, and such a failure takes long unless a trial is stopped.
        return [direct, *general]
    rows = [reference, {"method": "gmres", "preconditioner": "ilu", "fill": 3}, direct]
    if multigrid and structure.symmetric:
        # Works for waves; with a wind it fails on some systems.
        rows.insert(1, geometric | {"method": "gmres"})
    return rows


def judge_factors(operator: PETSc.Mat) -> Factors:
    """Return what factors of a matrix are, judged by the pattern alone. Collective.

    On several ranks they are dense, since MUMPS applies its factors slowly.
    """
    if operator.comm.size > 1 or operator.getSize()[0] > FACTOR_LIMIT:
        return "dense"
    offsets, columns, entries = operator.getValuesCSR()
    order = operator.getOrdering("rcm")[0].getIndices()
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    rows = np.repeat(np.arange(len(order)), np.diff(offsets))
    front = int(np.abs(place[rows] - place[columns]).max(initial=0))
    if front > FRONT * math.sqrt(len(order)):
        return "dense"
    return "light" if front**3 <= LIGHT * len(entries) else "sparse"
