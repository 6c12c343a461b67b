# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a solver."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from petsc4py import PETSc

from kryloset.krylov.names import (
    ENSEMBLE_PRECONDITIONERS,
    FILLED,
    Guesses,
    Lanes,
    Method,
    Preconditioner,
    RefreshRule,
    check_available,
    check_solver,
)
from kryloset.krylov.petsc_options import PetscOptions, check_petsc_options

type Refresh = RefreshRule | tuple[int, ...]
"""A refresh rule, or the numbers of the systems that get a preconditioner of their own."""


@dataclass(frozen=True)
class Settings:
    """How each system of a sequence is solved: a value.

    Attributes:
        method: Methods that recycle are gcrodr (GCRO-DR(restart, recycle), preconditioned from
            the left so that the directions are in x), rcg (recycling CG, for symmetric positive
            definite A), rminres (recycling MINRES, for symmetric A) and rbicgstab (recycling
            BiCGStab(2) on the space of GCRO-DR). hpddm is the GCRO-DR of HPDDM, if PETSc has
            it; its recycled space stays in its KSP and is not part of the state. Nothing is
            recycled by gmresdr (GMRES-DR(restart, recycle)), gmres (GMRES(restart), preconditioned
            from the right), cg, minres, bicgstab (BiCGStab(2)) and direct. A direct solve uses
            MUMPS if PETSc has it, otherwise PETSc's own factors: LU, or the factor of a symmetric
            matrix if the preconditioner is cholesky.
        preconditioner: PETSc's name. On several ranks icc and ilu become block Jacobi with icc
            or ilu in each rank's block. For multigrid the matrix carries interpolations, as
            those of families on a lattice do. The factors lu and cholesky are
            worthwhile if one preconditioner serves several systems (`refresh`).
        tolerance: on the true relative residual ||b - A x|| / ||b||.
        restart: directions that a cycle of gcrodr, gmresdr, hpddm or gmres holds, and from which
            rcg and rminres choose the next space. Other methods ignore it.
        recycle: how many of these are carried on. gmres and methods without `restart` ignore it.
        max_iterations: per system.
        refresh: which systems get a preconditioner of their own: always; by the ski-rental
            rule on measured seconds (`reuse.SkiRental`); or the systems with these numbers,
            counted from 0 (a replay of `SolverState.refreshes`). Other systems use that of an
            earlier one, scaled to fit, and get their own only if it does not solve them.
        fill: levels of fill of icc and ilu, from 0, the pattern of A, to `names.FILL_LIMIT`.
        omega: relaxation factor of sor, between 0 and 2.
        guess: none, or projection: the combination of earlier solutions with the least residual,
            for systems that share a matrix, as time steps do. A guess within the tolerance is
            the solution.
        lanes: how many systems of an ensemble are solved side by side, with one preconditioner
            each: 4, 8 or 16, for the methods and preconditioners of
            `names.ENSEMBLE_PRECONDITIONERS`; 1 solves the systems of an ensemble one after
            another. So does any number without a C compiler, and for a system alone.
        petsc_options: further options of PETSc for the KSP and its preconditioner, by name
            without the leading hyphen, such as {"pc_gamg_threshold": 0.02} or
            {"mg_levels_ksp_max_it": 3}. `krylov.petsc_options` says which are refused. One that
            PETSc does not read is an error of the first solve. A factor that is reused is then
            PETSc's own, not the faster one in single precision.

    Raises:
        ValueError: for an unknown name, a number out of range, a setting that the preconditioner
            does not have, an option that is refused, hpddm if PETSc was built without it, or
            several lanes of complex numbers.
    """

    method: Method = "gcrodr"
    preconditioner: Preconditioner = "ilu"
    tolerance: float = 1e-8
    restart: int = 40
    recycle: int = 20
    max_iterations: int = 10_000
    refresh: Refresh = "always"
    fill: int = 0
    omega: float = 1.0
    guess: Guesses = "none"
    lanes: Lanes = 1
    petsc_options: PetscOptions = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        check_solver(
            method=self.method,
            preconditioner=self.preconditioner,
            tolerance=self.tolerance,
            restart=self.restart,
            recycle=self.recycle,
            max_iterations=self.max_iterations,
            refresh=self.refresh,
            fill=self.fill,
            omega=self.omega,
            guess=self.guess,
            lanes=self.lanes,
            petsc_options=self.petsc_options,
        )
        check_petsc_options(self.method, self.petsc_options)
        if self.lanes > 1 and PETSc.ScalarType().dtype.kind == "c":
            raise ValueError("lanes: this PETSc has complex numbers: take lanes 1")
        check_available(self.method)

    def change(self, **changes: Any) -> Self:
        """Return these settings with some changed, and without those that no longer apply.

        `fill` and `omega` get their defaults if the new preconditioner does not use them, and so
        do `lanes` that the new method or preconditioner does not have. PETSc's options belong to
        one method and preconditioner, and are dropped if either changes.
        """
        given = {"method": self.method, "preconditioner": self.preconditioner}
        if any(changes.get(key, value) != value for key, value in given.items()):
            changes.setdefault("petsc_options", {})
        preconditioner = changes.get("preconditioner", self.preconditioner)
        if preconditioner not in FILLED:
            changes["fill"] = Settings.fill
        if preconditioner != "sor":
            changes["omega"] = Settings.omega
        method = changes.get("method", self.method)
        if preconditioner not in ENSEMBLE_PRECONDITIONERS.get(method, ()):
            changes.setdefault("lanes", Settings.lanes)
        return replace(self, **changes)

    @property
    def label(self) -> str:
        """The name in messages and tables, such as "cg + cholesky, reused" or "cg + icc(2)"."""
        factor = self.method == "direct" and self.preconditioner != "cholesky"
        preconditioner: str = "lu" if factor else self.preconditioner
        if self.fill:
            preconditioner += f"({self.fill})"
        elif self.omega != 1.0:
            preconditioner += f"({self.omega:g})"
        reused = ", reused" if self.refresh != "always" else ""
        guessed = ", guessed" if self.guess != "none" else ""
        lanes = f", {self.lanes} lanes" if self.lanes > 1 else ""
        return f"{self.method} + {preconditioner}{reused}{guessed}{lanes}"
