# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The configuration: the only source of its keys, defaults, bounds, units and descriptions.

`config/config.yaml`, the JSON schema of the workflow and the table of
`config/README.md` are written from these models by `kryloset.config.render`.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from kryloset.config.instances import InstancesConfig
from kryloset.config.mesh import MeshConfig
from kryloset.config.section import NAME, Section, plain_class, plain_path, plain_text
from kryloset.config.shifts import Shifts
from kryloset.config.solver import SolverConfig
from kryloset.config.training import TrainingConfig
from kryloset.errors import ConfigError

#: Whether gzip compresses the arrays of instances; `auto` if that is worth its time.
Compression = Literal["auto", "always", "never"]
#: The type of the numbers of instances in the file.
Precision = Literal["float64", "float32"]
#: The largest relative error of a number that is rounded to float32.
FLOAT32_ROUNDING = 2.0**-24


class StorageConfig(Section):
    """How the rows of an instance are stored."""

    compression: Compression = Field(
        "auto",
        description="Whether gzip compresses the arrays of instances. auto: those that it makes "
        "half as long or shorter, by the first instance, such as two-valued coefficients; always: "
        "all, though it leaves four fifths of a smooth function and takes longer than solving "
        "(docs/measurements/whole.md); never: none. Nothing is lost either way.",
    )
    precision: Precision = Field(
        "float64",
        exclude_if=lambda precision: precision == "float64",
        description="Type of the numbers of instances in the file. float32: half the bytes. "
        "Parameters are rounded when they are drawn, and solutions after they were solved in "
        "float64; the file says which residual that leaves (docs/reference/dataset.md).",
    )

    @property
    def rounds(self) -> bool:
        """Whether solutions are rounded when they are stored."""
        return self.precision != "float64"


class RefinementConfig(Section):
    """The estimate of the discretisation error."""

    instances: int = Field(
        0,
        ge=0,
        le=10**9,
        description="How many instances, the first as drawn, are solved again on a mesh with every "
        "edge halved. Their distances from the stored solutions are in the file and in the report.",
    )


class ComparisonConfig(Section):
    """The comparison in the report: the same systems solved with and without recycling."""

    instances: int = Field(
        16,
        ge=2,
        le=10**9,
        description="Number of instances that every method solves, the first in solving order; "
        "fewer if they would take too long.",
    )
    seconds: float = Field(
        5.0,
        gt=0,
        le=1e9,
        description="Processor seconds that the comparison may take, though two instances are "
        "compared, or one if two are expected to take longer, and one is solved more strictly. It "
        "takes at most a fifth of what the dataset is expected to, or 1 s.",
    )


def _licence(text: str) -> str:
    """Return a licence as SPDX spells it; refuse one that SPDX does not list."""
    # Its list of licences takes a while to load.
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        raise ValueError(
            "this is no SPDX identifier: take one of https://spdx.org/licenses, such as CC-BY-4.0 "
            "or CC0-1.0, or write LicenseRef-NAME for one of your own"
        ) from None


def _is_none(value: object) -> bool:
    return value is None


#: A text of one line that may be left out. Then the dataset is as before its key existed.
type _Text = Annotated[str, Field(max_length=1000), AfterValidator(plain_text)]


class AboutConfig(Section):
    """What no number says: attributes of the file, and lines of the report."""

    title: _Text | None = Field(
        None, exclude_if=_is_none, description="Title, in place of that of the family."
    )
    creator: _Text | None = Field(
        None, exclude_if=_is_none, description="Who made it, as `creator_name` in the file."
    )
    license: Annotated[_Text, AfterValidator(_licence)] | None = Field(
        None,
        exclude_if=_is_none,
        description="Licence as an SPDX identifier, such as CC-BY-4.0, or an expression of them.",
    )
    references: _Text | None = Field(
        None, exclude_if=_is_none, description="What to cite, such as a DOI."
    )


#: The smallest fraction is one instance of the largest `count`.
Fraction = Annotated[float, Field(ge=1e-9, le=1)]
#: A number, or a share of the instances.
Share = Annotated[int, Field(ge=1, le=10**9)] | Annotated[float, Field(gt=0, lt=1)]
DEFAULT_LIMIT = 0.01


class DatasetConfig(Section):
    """One dataset: what is drawn, and how it is solved and split."""

    family: Annotated[str, AfterValidator(plain_class)] = Field(
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
    instances: InstancesConfig = Field(
        default_factory=InstancesConfig,
        # By default, a dataset has the configuration that it had before this key existed.
        exclude_if=lambda instances: instances.file is None,
        description="Parameters of the instances that lie in a file of yours "
        "(docs/how-to/instances.md).",
    )
    on_failure: Literal["stop", "redraw", "skip"] = Field(
        "stop",
        exclude_if=lambda chosen: chosen == "stop",
        description="What happens if an instance that is drawn is none of the family, or cannot be "
        "solved. stop: the run stops and names it; redraw: another one is drawn for its number; "
        "skip: it is left out. The file lists what failed and why (docs/how-to/failures.md).",
    )
    failure_limit: Share = Field(
        DEFAULT_LIMIT,
        exclude_if=lambda limit: limit == DEFAULT_LIMIT,
        description="How many failures `on_failure` redraw or skip allows before the run stops: a "
        "number, or a share of `count`, of which at least one is allowed.",
    )
    mesh: MeshConfig = Field(default_factory=MeshConfig, description="Grid and finite elements.")
    sort: Literal["auto", "greedy", "hilbert", "or_opt", "spanning_tree", "given"] = Field(
        "auto",
        description="Order in which instances are solved. auto: given if all instances have one "
        "operator, otherwise greedy up to 5,000 instances and hilbert beyond. greedy: the "
        "nearest-neighbour chain of the SKR paper, which compares all pairs; hilbert: along a "
        "Hilbert curve, with a greedy chain inside each cell of 1,024; or_opt: as hilbert, with "
        "each cell improved by Or-opt; spanning_tree: around a spanning tree of near neighbours; "
        "given: as drawn.",
    )
    features: Literal[
        "auto", "parameters", "cosines", "fourier", "blocks", "random", "principal", "solutions"
    ] = Field(
        "auto",
        description="Features by which the sort compares instances: at most 144 numbers for each "
        "parameter, except that parameters takes all its numbers. auto: none if the order is "
        "given, parameters if it is greedy and they have at most 262,144 numbers in all, otherwise "
        "cosines. cosines: the lowest modes of the DCT; fourier: the lowest modes of the FFT, as "
        "in the SKR paper; blocks: means over blocks of the grid; random: a random projection; "
        "principal: coordinates on the principal axes of 1,024 instances; solutions: the solutions "
        "on a coarse grid.",
    )
    chunks: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        "auto",
        description="Number of contiguous parts of the sorted instances, each solved by a job of "
        "its own. auto: one for each core (on a cluster, for each job at a time), fewer if a part "
        "would take less than about a second and more if it would take more than about an hour; "
        "the number that a dataset was begun with stays. Subspaces are recycled only within a "
        "chunk, so take as many chunks as there are workers and no more.",
    )
    solver: SolverConfig = Field(default_factory=SolverConfig, description="Linear solver.")
    storage: StorageConfig = Field(
        default_factory=StorageConfig,
        # By default, a dataset has the configuration that it had before this key existed.
        exclude_if=lambda storage: storage == StorageConfig(),
        description="How instances are stored.",
    )
    splits: dict[Annotated[str, Field(pattern=NAME)], Fraction] = Field(
        default={"train": 0.75, "valid": 0.125, "test": 0.125},
        description="Fraction of the instances in each split. The fractions must sum to 1 and "
        "include `train`, from which alone the statistics are computed. An instance stays in its "
        "split when `count` changes.",
    )
    ood: Shifts = Field(
        default={},
        exclude_if=lambda ood: not ood,
        description="Further instances, drawn with other settings of the family, to test how far "
        "an operator carries beyond its training: `{log_deviation: 2.0, count: 200}` makes the "
        "split `ood`, and `{rough: {length: 0.02, count: 200}, ...}` one of each name "
        "(docs/how-to/shifts.md).",
    )
    about: AboutConfig = Field(
        default_factory=AboutConfig,
        exclude_if=lambda about: about == AboutConfig(),
        description="Title, creator, licence and references of the dataset.",
    )
    refinement: RefinementConfig = Field(
        default_factory=RefinementConfig,
        exclude_if=lambda refinement: refinement == RefinementConfig(),
        description="Estimate of the discretisation error. By default there is none.",
    )
    comparison: ComparisonConfig = Field(
        default_factory=ComparisonConfig, description="Comparison of methods in the report."
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="The neural operators (`make train`)."
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
    def _redrawn_are_drawn(self) -> "DatasetConfig":
        if self.on_failure == "redraw" and self.instances.file is not None:
            raise ValueError(
                "on_failure redraw contradicts instances, whose file has nothing to draw again: "
                "take skip, or leave one of the keys out"
            )
        return self

    @property
    def allowed_error(self) -> float:
        """Relative L2 distance up to which stored solutions agree."""
        return self.solver.allowed_error + (FLOAT32_ROUNDING if self.storage.rounds else 0.0)

    @property
    def failures_allowed(self) -> int:
        """How many instances may fail before the run stops."""
        if self.on_failure == "stop":
            return 0
        limit = self.failure_limit
        return limit if isinstance(limit, int) else max(1, int(limit * self.count))

    @property
    def total(self) -> int:
        """How many instances are drawn: `count`, and those of `ood` after them."""
        return self.count + sum(shift.count for shift in self.ood.values())

    @property
    def split_names(self) -> tuple[str, ...]:
        """The names of all splits, those of `ood` last."""
        return (*self.splits, *self.ood)

    @property
    def held_out(self) -> str:
        """The split by which models are told apart: `test`, or the last one of `splits`."""
        return "test" if "test" in self.splits else list(self.splits)[-1]

    @property
    def refined(self) -> int:
        """How many instances are solved again on a refined mesh: those below this number."""
        return min(self.refinement.instances, self.count)

    @model_validator(mode="after")
    def _shifts_are_drawn(self) -> "DatasetConfig":
        if self.ood and self.instances.file is not None:
            raise ValueError(
                "ood contradicts instances: what lies in a file is not drawn with other settings; "
                "make a dataset of its own from a file of shifted instances"
            )
        twice = sorted(self.splits.keys() & self.ood.keys())
        if twice:
            raise ValueError(
                f"ood.{twice[0]}: there is a split of that name in `splits`: take another one"
            )
        if "valid" in self.ood:
            raise ValueError(
                "ood.valid: models choose their weights by the split of that name, and no training "
                "sees shifted instances: take another name"
            )
        if "calibration" in self.ood:
            raise ValueError(
                "ood.calibration: the split of that name calibrates bounds for instances drawn as "
                "its own: add it to `splits`, or take another name"
            )
        return self

    @property
    def leaves_out(self) -> bool:
        """Whether an instance that fails is left out, and not drawn again."""
        return self.on_failure == "skip"

    @model_validator(mode="after")
    def _grids_of_training_are_there(self) -> "DatasetConfig":
        for points in self.training.grids:
            try:
                self.mesh.find_grid(points)
            except ConfigError as error:
                raise ValueError(
                    f"training.grids: {error}; add it there, or leave the key out to learn on the "
                    "grid of mesh.points"
                ) from None
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> "DatasetConfig":
        if self.chunks != "auto" and self.chunks > self.count:
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
