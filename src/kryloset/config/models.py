# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The configuration: the only source of its keys, defaults, bounds, units and descriptions.

`config/config.yaml`, the JSON schema of the workflow and the table of
`config/README.md` are written from these models by `kryloset.config.render`.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kryloset.config.section import Section, plain_path
from kryloset.krylov.names import (
    FILL_LIMIT,
    OMEGA_LIMIT,
    Method,
    Preconditioner,
    RefreshRule,
    check_recycle,
    check_reuse,
    check_skr,
)
from kryloset.krylov.petsc_options import check_petsc_options

#: What the name of a dataset or a split may be: it names a folder or a group.
NAME = r"^[a-z][a-z0-9_]{0,99}$"
#: What `solver.policy` may be.
POLICY = r"^(measure|replay \S.*)$"


def _plain_family(family: str) -> str:
    """Refuse a family in a file whose path is not plain."""
    path, colon, _ = family.rpartition(":")
    if colon:
        plain_path(path)
    return family


def _plain_policy(policy: str) -> str:
    """Refuse a file to replay whose path is not plain."""
    _, blank, path = policy.partition(" ")
    if blank:
        plain_path(path)
    return policy


class MeshConfig(Section):
    """The mesh and the regular grid on which the dataset is stored."""

    points: int = Field(
        64,
        ge=3,
        le=65_537,
        description="Grid points per side, including those on the boundary. If the domain is a "
        "square or a box, the grid points are the degrees of freedom, so every unknown is stored.",
    )
    degree: Literal[1, 2] = Field(
        1,
        description="Polynomial degree of the Lagrange elements; 2 needs an odd `points`.",
    )
    dimension: Literal[1, 2, 3] | None = Field(
        None,
        description="Space dimension of a family that offers several; null means its default.",
    )
    grids: tuple[Annotated[int, Field(ge=2, le=65_537)], ...] = Field(
        (),
        description="Points per side of further grids on which the same instances are stored. The "
        "finite element functions are evaluated there exactly.",
    )

    @model_validator(mode="after")
    def _points_fit_degree(self) -> "MeshConfig":
        if (self.points - 1) % self.degree:
            raise ValueError(
                f"points {self.points} does not fit degree {self.degree}: a cell has "
                f"{self.degree + 1} points per side, so take an odd number, such as "
                f"{self.points + 1}"
            )
        return self

    @model_validator(mode="after")
    def _grids_differ(self) -> "MeshConfig":
        if len({self.points, *self.grids}) <= len(self.grids):
            raise ValueError(
                f"grids {list(self.grids)} repeats a grid, or names that of points {self.points}: "
                "list each further grid once"
            )
        return self

    @property
    def cells(self) -> int:
        """Mesh cells per side."""
        return (self.points - 1) // self.degree


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
        "`replay FILE`: as recorded in the `choices.json` of another run, whose solutions this run "
        "then reproduces bit for bit. FILE is relative to the working directory. It must be a "
        "copy, since each run overwrites its own `choices.json`.",
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


class ComparisonConfig(Section):
    """The comparison in the report: the same systems solved with and without recycling."""

    instances: int = Field(
        16,
        ge=2,
        le=10**9,
        description="Number of instances that every method solves, the first in solving order.",
    )


class TrainingConfig(Section):
    """The Fourier neural operator trained by `make train`; the defaults suit two CPU cores."""

    epochs: int = Field(30, ge=1, le=100_000, description="Passes over the training split.")
    batch_size: int = Field(8, ge=1, le=65_536, description="Instances per step of the optimiser.")
    learning_rate: float = Field(
        1e-2, gt=0, le=1, description="Peak learning rate of AdamW under the one-cycle schedule."
    )
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    modes: int = Field(
        24,
        ge=1,
        le=1024,
        description="Fourier modes along each axis, limited by those that the grid has.",
    )
    width: int = Field(16, ge=2, le=1024, description="Hidden channels of the operator.")
    layers: int = Field(4, ge=1, le=64, description="Fourier layers.")
    loss: Literal["l2", "h1"] = Field(
        "l2", description="Training loss: relative L2 or relative H1 norm of the error."
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seed of the initial weights and of the batches."
    )


#: The smallest fraction is one instance of the largest `count`.
Fraction = Annotated[float, Field(ge=1e-9, le=1)]


class DatasetConfig(Section):
    """One dataset: what is drawn, and how it is solved and split."""

    family: Annotated[str, AfterValidator(_plain_family)] = Field(
        "darcy",
        min_length=1,
        description="A family that `kryloset families` lists, or `path/to/file.py:Class`: a class "
        "in a file of your own, with a path relative to the working directory.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="The family's own settings; `kryloset families NAME` lists them.",
    )
    count: int = Field(64, ge=1, le=10**9, description="Number of instances.")
    seed: int = Field(
        0,
        ge=0,
        lt=2**64,
        description="Seed of the instances: instance i is drawn from (seed, i) alone.",
    )
    mesh: MeshConfig = Field(default_factory=MeshConfig, description="Grid and finite elements.")
    sort: Literal["auto", "greedy", "hilbert", "or_opt", "spanning_tree", "given"] = Field(
        "auto",
        description="Order in which instances are solved. auto: greedy up to 5,000 instances, "
        "hilbert beyond. greedy: the nearest-neighbour chain of the SKR paper, which compares all "
        "pairs; hilbert: along a Hilbert curve, with a greedy chain inside each cell of 1,024; "
        "or_opt: as hilbert, with each cell improved by Or-opt; spanning_tree: around a spanning "
        "tree of near neighbours; given: as drawn.",
    )
    features: Literal[
        "auto", "parameters", "cosines", "fourier", "blocks", "random", "principal", "solutions"
    ] = Field(
        "auto",
        description="Features by which the sort compares instances: at most 144 numbers for each "
        "parameter, except that parameters takes all its numbers. auto: parameters if the order is "
        "greedy or given and they have at most 262,144 numbers in all, otherwise cosines. cosines: "
        "the lowest modes of the DCT; fourier: the lowest modes of the FFT, as in the SKR paper; "
        "blocks: means over blocks of the grid; random: a random projection; principal: "
        "coordinates on the principal axes of 1,024 instances; solutions: the solutions on a "
        "coarse grid.",
    )
    chunks: int = Field(
        2,
        ge=1,
        le=100_000,
        description="Number of contiguous parts of the sorted instances, each solved by a job of "
        "its own. Subspaces are recycled only within a chunk, so take as many chunks as there are "
        "workers and no more.",
    )
    solver: SolverConfig = Field(default_factory=SolverConfig, description="Linear solver.")
    splits: dict[Annotated[str, Field(pattern=NAME)], Fraction] = Field(
        default={"train": 0.75, "valid": 0.125, "test": 0.125},
        description="Fraction of the instances in each split. The fractions must sum to 1 and "
        "include `train`, from which alone the statistics are computed. An instance stays in its "
        "split when `count` changes.",
    )
    comparison: ComparisonConfig = Field(
        default_factory=ComparisonConfig, description="Comparison of methods in the report."
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="The neural operator (`make train`)."
    )

    @model_validator(mode="before")
    @classmethod
    def _skr_brings_its_order(cls, given: Any) -> Any:
        """Sort by the greedy chain, however many instances there are, if the solver is SKR."""
        solver = given.get("solver") if isinstance(given, dict) else None
        method = solver.get("method") if isinstance(solver, dict) else getattr(solver, "method", "")
        if method == "skr" and given.get("sort", "auto") == "auto":
            return {**given, "sort": "greedy"}
        return given

    @model_validator(mode="after")
    def _skr_is_sorted_greedily(self) -> "DatasetConfig":
        if self.solver.method == "skr" and self.sort != "greedy":
            raise ValueError(
                f"sort {self.sort} contradicts solver.method skr, which sorts by the greedy chain "
                "as published: leave the key out, or take method gcrodr"
            )
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> "DatasetConfig":
        if self.chunks > self.count:
            raise ValueError(
                f"chunks {self.chunks} is more than count {self.count}: each chunk needs an "
                f"instance, so take at most {self.count} chunks"
            )
        total = sum(self.splits.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"splits sum to {total:g}, not to 1: change one of {self.splits}")
        if "train" not in self.splits:
            raise ValueError(
                "splits has no `train`: add it, since the statistics are computed from it"
            )
        for name, fraction in self.splits.items():
            if self.count * fraction < 1 - 1e-9:
                raise ValueError(
                    f"splits.{name} {fraction:g} of count {self.count} is less than an instance: "
                    f"draw {math.ceil(1 / fraction - 1e-9)} instances or more, or take a larger "
                    "fraction"
                )
        return self


class Config(Section):
    """The whole configuration of a run."""

    datasets: dict[Annotated[str, Field(pattern=NAME)], DatasetConfig] = Field(
        default_factory=lambda: {"darcy": DatasetConfig()},
        min_length=1,
        description="The datasets to make, by name. Each has a folder of that name in `results/`.",
    )
    pathvars: dict[
        Literal["results", "logs", "benchmarks"], Annotated[str, AfterValidator(plain_path)]
    ] = Field(
        default_factory=dict,
        description="Folders in place of the defaults of Snakemake's path variables.",
    )
