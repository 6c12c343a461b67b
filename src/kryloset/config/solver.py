# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The solver's part of a dataset's configuration."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from kryloset.config.section import Section, plain_path
from kryloset.krylov.names import (
    FILL_LIMIT,
    LANES,
    OMEGA_LIMIT,
    Lanes,
    Method,
    Preconditioner,
    RefreshRule,
    check_lanes,
    check_recycle,
    check_reuse,
    check_skr,
)
from kryloset.krylov.petsc_options import check_petsc_options

#: Ratio of error to residual up to which solutions of one equation agree. On 129 points, the
#: largest measured is 600 (docs/explanation/tolerance.md). It grows with the square of the points.
_AMPLIFICATION = 1e4

#: What `solver.policy` may be.
POLICY = r"^(measure|replay \S.*)$"


def _plain_policy(policy: str) -> str:
    """Refuse a file to replay whose path is not plain."""
    _, blank, path = policy.partition(" ")
    if blank:
        plain_path(path)
    return policy


class SolverConfig(Section):
    """How each linear system of the sequence is solved."""

    method: Literal["auto", "skr", Method] = Field(
        "auto",
        description="auto: automatic selection of the fastest strategy for the matrices, by "
        "measured seconds. It also chooses `preconditioner`, `fill`, `omega`, `restart`, "
        "`recycle` and `refresh`; only the comparison uses their values here. skr: the published "
        "method, GCRO-DR(40,20) with ILU in the order `sort: greedy`. Methods that "
        "recycle a subspace from each instance to the next: gcrodr, GCRO-DR; rcg, recycling CG "
        "(symmetric definite families only); rminres, recycling MINRES (symmetric families only); "
        "rbicgstab, recycling BiCGStab(2); hpddm, the GCRO-DR of HPDDM, if PETSc has it. Methods "
        "that recycle nothing: gmresdr, GMRES with deflated restarting; gmres, restarted GMRES; "
        "cg; minres; bicgstab, BiCGStab(2); direct, a sparse factorisation.",
    )
    preconditioner: Preconditioner = Field(
        "ilu",
        description="PETSc preconditioner. multigrid is geometric, for families on a lattice; the "
        "factors lu and cholesky are worth their price if `refresh` is rental. With method direct, "
        "cholesky factorises a symmetric matrix, and any other value means LU.",
    )
    fill: int = Field(
        0,
        ge=0,
        le=FILL_LIMIT,
        description="Levels of fill of icc and ilu; 0 keeps the pattern of the matrix. Each level "
        "takes more memory and set-up time, and saves iterations. Other preconditioners ignore it.",
    )
    omega: float = Field(
        1.0,
        gt=0,
        lt=OMEGA_LIMIT,
        description="Relaxation factor of sor, which makes symmetric sweeps; 1 is Gauss-Seidel. "
        "Other preconditioners ignore it.",
    )
    refresh: RefreshRule = Field(
        "always",
        description="Refresh rule, which decides when a new preconditioner is made. always: for "
        "each system; rental, the ski-rental rule: once the additional iterations with the "
        "reference preconditioner have cost as much as a new one (docs/explanation/automatic.md).",
    )
    policy: Annotated[str, AfterValidator(_plain_policy)] = Field(
        "measure",
        pattern=POLICY,
        description="How strategies and refreshes are chosen. measure: by measured seconds; "
        "`replay FILE`: as recorded in another run, whose solutions this run then reproduces bit "
        "for bit. FILE is a copy of its `dataset.h5` or `choices.json`, relative to the working "
        "directory: each run overwrites its own.",
    )
    tolerance: float = Field(
        1e-8,
        gt=0,
        lt=1,
        description="Largest true relative residual ||b - A x|| / ||b|| of a stored solution. With "
        "the default, solutions of all families up to 129 points per side have errors below 1e-5, "
        "about 1 % of the discretisation error: docs/explanation/tolerance.md.",
    )
    restart: int = Field(
        40,
        ge=2,
        le=1000,
        description="m: vectors in a restart cycle of GMRES and GCRO-DR, or those from which rcg "
        "and rminres choose the recycled subspace.",
    )
    recycle: int = Field(20, ge=0, le=999, description="k: recycled vectors, fewer than `restart`.")
    max_iterations: int = Field(
        10_000,
        ge=1,
        lt=2**31,
        description="Iterations after which a method counts as failed and the next one is tried.",
    )
    lanes: Literal["auto", Lanes] = Field(
        "auto",
        # By default, a dataset has the configuration that it had before this key existed.
        exclude_if=lambda lanes: lanes == "auto",
        description="How many neighbours are solved together, as an ensemble: 4, 8 or 16, or 1 for "
        "one after another; auto is 16 for method auto and 1 for all others. More than 1 is for cg "
        "and gmres with jacobi, icc, multigrid or a factor, and for families whose instances share "
        "a mesh; others are solved one after another.",
    )
    petsc_options: dict[str, bool | int | float | str] = Field(
        {},
        # Without options, the configuration in a dataset is the same as before this key existed.
        exclude_if=lambda options: not options,
        description="Further PETSc options for the method and its preconditioner, without the "
        "leading hyphen, such as {pc_gamg_threshold: 0.02}. Method auto takes none. Options are "
        "refused if they have a key here, if they could break the promised tolerance, or if PETSc "
        "does not read them.",
    )

    @model_validator(mode="after")
    def _factors_are_reused_by_iterations(self) -> "SolverConfig":
        check_reuse(self.method, self.refresh != "always")
        return self

    @model_validator(mode="after")
    def _lanes_are_there(self) -> "SolverConfig":
        if self.method != "auto":
            check_lanes(
                self.width,
                self.method,
                self.preconditioner,
                self.fill,
                self.refresh != "always",
                self.petsc_options,
            )
        return self

    @property
    def width(self) -> Lanes:
        """How many neighbours are solved together."""
        if self.lanes == "auto":
            return LANES[-1] if self.method == "auto" else LANES[0]
        return self.lanes

    @model_validator(mode="after")
    def _skr_is_as_published(self) -> "SolverConfig":
        if self.method == "skr":
            check_skr(dict(self))
        return self

    @model_validator(mode="after")
    def _choices_are_there_to_replay(self) -> "SolverConfig":
        if self.replayed and not self.chooses:
            raise ValueError(
                f"policy {self.policy}: method {self.method} with refresh always makes no choices "
                "that could be replayed, so take policy measure"
            )
        return self

    @property
    def allowed_error(self) -> float:
        """Relative L2 distance up to which solutions agree within the tolerance."""
        return _AMPLIFICATION * self.tolerance

    @property
    def chooses(self) -> bool:
        """Whether anything is chosen by measured seconds."""
        return self.method == "auto" or self.refresh == "rental"

    @property
    def replayed(self) -> Path | None:
        """The file with the recorded selection to replay; None if seconds are measured."""
        _, _, file = self.policy.partition(" ")
        return Path(file) if file else None

    @model_validator(mode="after")
    def _recycle_below_restart(self) -> "SolverConfig":
        check_recycle(self.restart, self.recycle)
        return self

    @model_validator(mode="after")
    def _options_pass_through(self) -> "SolverConfig":
        if self.petsc_options and self.method == "auto":
            raise ValueError(
                "petsc_options: method auto takes none, since its methods and preconditioners read "
                "different options; name a method"
            )
        check_petsc_options(self.method, self.petsc_options)
        return self
