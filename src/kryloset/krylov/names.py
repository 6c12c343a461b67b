# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Names of methods and preconditioners, and the bounds and rules of their settings.

Nothing here needs PETSc, so that configurations are read and checked without it.
"""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, get_args

Method = Literal[
    "gcrodr",
    "gmresdr",
    "gmres",
    "rcg",
    "cg",
    "rminres",
    "minres",
    "rbicgstab",
    "bicgstab",
    "hpddm",
    "direct",
]

Preconditioner = Literal[
    "none",
    "jacobi",
    "bjacobi",
    "sor",
    "asm",
    "icc",
    "ilu",
    "gamg",
    "multigrid",
    "lu",
    "cholesky",
]

Guesses = Literal["none", "projection"]
"""How initial guesses are made: not at all, or from earlier solutions (`reuse.guess`)."""

RefreshRule = Literal["always", "rental"]
"""When a new preconditioner is made: for each system, or by the ski-rental rule."""

Lanes = Literal[1, 4, 8, 16]
"""How many systems are solved side by side, as an ensemble; 1 is one after another."""

METHODS: tuple[Method, ...] = get_args(Method)

PRECONDITIONERS: tuple[Preconditioner, ...] = get_args(Preconditioner)

GUESSES: tuple[Guesses, ...] = get_args(Guesses)

REFRESH_RULES: tuple[RefreshRule, ...] = get_args(RefreshRule)

LANES: tuple[Lanes, ...] = get_args(Lanes)

DEFLATING_METHODS = ("gcrodr", "gmresdr", "rcg", "rminres", "rbicgstab", "hpddm")
"""Methods that hold `restart` directions and carry `recycle` of them to the next system."""

SYMMETRIC_METHODS = ("rcg", "cg", "rminres", "minres")
"""Methods for symmetric matrices. Their preconditioner must be symmetric positive definite."""

DEFINITE_METHODS = ("rcg", "cg")
"""Of these, the methods for positive definite matrices."""

SINGLE_PRECISION_METHODS = ("cg", "gmres")
"""Methods that converge with a factor in single precision.

CG updates its residual by products with A alone, and GMRES is flexible then."""

SKR: Mapping[str, Any] = {
    "method": "gcrodr",
    "restart": 40,
    "recycle": 20,
    "preconditioner": "ilu",
    "fill": 0,
    "refresh": "always",
}
"""The settings of SKR as published (Wang et al., ICLR 2024), which sorts by the greedy chain."""

FACTORS = ("lu", "cholesky")
"""Complete factors."""

ENSEMBLE_PRECONDITIONERS: dict[str, tuple[str, ...]] = {
    "cg": ("jacobi", "icc", "multigrid", "cholesky"),
    "gmres": ("jacobi", "icc", "cholesky", "lu"),
}
"""The preconditioners of ensembles, by the methods that solve them.

Multigrid iterates by CG itself, for which matrices must be positive definite."""

FILLED = ("icc", "ilu")
"""Incomplete factors, which have levels of fill."""

NONSYMMETRIC_COUNTERPARTS = {"icc": "ilu", "cholesky": "lu"}
"""Preconditioners of symmetric matrices, and the corresponding ones of any matrix."""

FILL_LIMIT = 10
"""Most levels of fill: beyond, an incomplete factor is about as large as a complete one."""

OMEGA_LIMIT = 2
"""SOR converges for relaxation factors between 0 and this number."""


def check_solver(
    *,
    method: str,
    preconditioner: str,
    tolerance: float,
    restart: int,
    recycle: int,
    max_iterations: int,
    refresh: str | tuple[int, ...],
    fill: int,
    omega: float,
    guess: str,
    lanes: int,
    petsc_options: Mapping[str, Any],
) -> None:
    """Check the settings of a solver.

    Args:
        method: one of `METHODS`; the other settings are those of `SequenceSolver`.
        preconditioner: one of `PRECONDITIONERS`.
        tolerance: between 0 and 1.
        restart: at least 1.
        recycle: at least 0; less than `restart` for `DEFLATING_METHODS`.
        max_iterations: at least 1.
        refresh: `always`, `rental` or numbers of systems; not with a direct method.
        fill: from 0 to `FILL_LIMIT`; 0 except for `FILLED`.
        omega: between 0 and `OMEGA_LIMIT`; 1 except for sor.
        guess: one of `GUESSES`; not with a preconditioner that is reused.
        lanes: one of `LANES`; 1 unless `check_lanes` allows more.
        petsc_options: by name; `petsc_options` says which are refused.

    Raises:
        ValueError: a setting is wrong. The message begins with its name.
    """
    named: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("method", method, METHODS),
        ("preconditioner", preconditioner, PRECONDITIONERS),
        ("guess", guess, GUESSES),
    )
    for key, value, names in named:
        if value not in names:
            raise ValueError(f"{key} {value!r} is not known: use one of {', '.join(names)}")
    check_limits(tolerance, max_iterations)
    _check_least("restart", restart, 1)
    _check_least("recycle", recycle, 0)
    if not 0 <= fill <= FILL_LIMIT:
        raise ValueError(
            f"fill must be from 0 to {FILL_LIMIT}, got {fill}: for more levels take "
            "preconditioner lu or cholesky, the complete factors"
        )
    if not 0 < omega < OMEGA_LIMIT:
        raise ValueError(
            f"omega must lie between 0 and {OMEGA_LIMIT}, where SOR converges, got {omega}: 1 "
            "gives Gauss-Seidel sweeps"
        )
    if fill and preconditioner not in FILLED:
        raise ValueError(f"fill is for icc and ilu, preconditioner {preconditioner} has no levels")
    if omega != 1 and preconditioner != "sor":
        raise ValueError(f"omega is for sor, preconditioner {preconditioner} has no such factor")
    if isinstance(refresh, str) and refresh not in REFRESH_RULES:
        raise ValueError(
            f"refresh {refresh!r} is not known: use {' or '.join(REFRESH_RULES)}, or numbers of "
            "systems"
        )
    check_reuse(method, refresh != "always")
    if guess != "none" and refresh != "always":
        raise ValueError(
            f"guess {guess} is for systems that share a matrix, whose preconditioner is kept "
            "anyway: use refresh always"
        )
    if method in DEFLATING_METHODS:
        check_recycle(restart, recycle)
    reuses = refresh != "always" or guess != "none"
    check_lanes(lanes, method, preconditioner, fill, reuses, petsc_options)


def check_limits(tolerance: Any, max_iterations: Any) -> None:
    """Check what every solver has.

    Raises:
        ValueError: the tolerance is not a number between 0 and 1, or no iteration is allowed.
    """
    if not isinstance(tolerance, Real) or not 0 < float(tolerance) < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance!r}")
    _check_least("max_iterations", max_iterations, 1)


def _check_least(key: str, number: Any, bound: int) -> None:
    if isinstance(number, bool) or not isinstance(number, Integral) or number < bound:
        raise ValueError(f"{key} must be at least {bound}, and an integer, got {number!r}")


def check_reuse(method: str, reuses: bool) -> None:
    """Refuse to reuse the factor of a direct solve.

    Raises:
        ValueError: names what to take instead.
    """
    if reuses and method == "direct":
        raise ValueError(
            "refresh rental: a factor is reused by an iterative method, so take cg or gmres with "
            "preconditioner cholesky or lu instead of direct"
        )


def check_lanes(
    lanes: Any,
    method: str,
    preconditioner: str,
    fill: int,
    reuses: bool,
    options: Mapping[str, Any],
) -> None:
    """Refuse lanes that a method, its preconditioner or other settings do not have.

    Args:
        lanes: how many systems are solved together.
        method: one of `METHODS`, or skr.
        preconditioner: one of `PRECONDITIONERS`.
        fill: levels of fill.
        reuses: whether preconditioners of earlier systems are used, or guesses are made.
        options: of PETSc.

    Raises:
        ValueError: names what is possible.
    """
    if lanes not in LANES:
        raise ValueError(f"lanes must be one of {', '.join(map(str, LANES))}, got {lanes!r}")
    if lanes == 1:
        return
    if preconditioner not in ENSEMBLE_PRECONDITIONERS.get(method, ()):
        possible = "; ".join(
            f"{name} with {', '.join(theirs)}" for name, theirs in ENSEMBLE_PRECONDITIONERS.items()
        )
        raise ValueError(
            f"lanes {lanes}: method {method} with preconditioner {preconditioner} solves one "
            f"system after another: take lanes 1, or {possible}"
        )
    if fill:
        raise ValueError(
            f"lanes {lanes}: {preconditioner} of an ensemble has no levels of fill: take fill 0, "
            "or lanes 1"
        )
    if reuses:
        raise ValueError(
            f"lanes {lanes}: preconditioners of earlier systems, and guesses, are for one system "
            "after another: take refresh always and guess none, or lanes 1"
        )
    if options:
        raise ValueError(
            f"lanes {lanes}: petsc_options are for PETSc's solvers, which solve one system after "
            "another: take lanes 1, or no options"
        )


def check_recycle(restart: int, recycle: int) -> None:
    """Refuse a recycled space that leaves no room for new directions.

    Raises:
        ValueError: names a number that fits.
    """
    if recycle >= restart:
        raise ValueError(
            f"recycle {recycle} must be less than restart {restart}, since a cycle needs room for "
            f"new directions: take {restart // 2}, half of it, as the SKR paper does"
        )


def check_skr(settings: Mapping[str, Any]) -> None:
    """Refuse settings of SKR, by name, that differ from the published ones.

    Raises:
        ValueError: names the setting and what it is in the paper.
    """
    for key, value in settings.items():
        published = SKR.get(key, value)
        if key != "method" and value != published:
            raise ValueError(
                f"{key} {value} contradicts method skr, which has {key} {published} as published: "
                "leave the key out, or take method gcrodr"
            )


def check_fit(
    *,
    method: str,
    preconditioner: str,
    symmetric: bool,
    definite: bool,
    saddle_point: bool,
    singular: bool,
    lanes: int = 1,
) -> None:
    """Refuse a solver that is not made for a kind of matrix.

    Args:
        method: one of `METHODS`, or `auto`, which fits every matrix.
        preconditioner: one of `PRECONDITIONERS`; of a direct method, the factor.
        symmetric: whether the matrix is symmetric; the next ones are as in `Structure`.
        definite: whether it is also positive definite.
        saddle_point: whether a diagonal block is zero.
        singular: whether it has a null space.
        lanes: how many systems are solved together. Factors of ensembles need no pivots, and
            leave a null space out.

    Raises:
        ValueError: names what is wrong and what to take instead.
    """
    direct = method == "direct"
    pivots = lanes == 1 or preconditioner not in FACTORS
    if saddle_point and method not in ("auto", "direct") and pivots:
        raise ValueError(
            f"method {method}: the operator has a block of zeros on its diagonal, on which the "
            "preconditioners break down: take auto or direct"
        )
    if singular and (direct or (preconditioner in FACTORS and lanes == 1)):
        culprit = "method direct" if direct else f"preconditioner {preconditioner}"
        raise ValueError(
            f"{culprit}: the operator is singular and has no factor: take auto, cg with icc, or "
            "gcrodr"
        )
    if method in DEFINITE_METHODS and not (symmetric and definite):
        raise ValueError(
            f"method {method} needs a symmetric definite operator: take gcrodr, gmres or direct"
        )
    if method in SYMMETRIC_METHODS and not symmetric:
        raise ValueError(
            f"method {method} needs a symmetric operator: take gcrodr, gmres or direct"
        )
    needless = direct and preconditioner in FILLED
    if preconditioner in NONSYMMETRIC_COUNTERPARTS and not symmetric and not needless:
        raise ValueError(
            f"preconditioner {preconditioner} needs a symmetric operator: take "
            f"{NONSYMMETRIC_COUNTERPARTS[preconditioner]}"
        )


def check_available(method: str) -> None:
    """Refuse a method that this PETSc was built without.

    Raises:
        ValueError: says what to take instead.
    """
    if method != "hpddm":
        return
    # Here, since nothing else needs PETSc for a look at a configuration.
    from mpi4py import MPI  # noqa: F401  (before petsc4py)
    from petsc4py import PETSc

    if not PETSc.Sys.hasExternalPackage("hpddm"):
        raise ValueError("method hpddm: this PETSc was built without HPDDM: take gcrodr")
