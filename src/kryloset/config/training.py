# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The part of a dataset's configuration that says which neural operators are trained on it."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kryloset.config.mesh import GridPoints, plain, points_of
from kryloset.config.online import OnlineConfig
from kryloset.config.section import Section, plain_class
from kryloset.errors import ConfigError

#: A name that `kryloset models` lists, or `path/to/file.py:Class`.
type Model = Annotated[str, Field(min_length=1), AfterValidator(plain_class)]
type Seed = Annotated[int, Field(ge=0, lt=2**63)]

#: Keys of which an optimiser takes only the defaults. The line search of L-BFGS compares losses to
#: the last digit. AdaHessian differentiates gradients, which compiled code does not allow.
UNABLE = {
    "lbfgs": ("weight_decay", "clip", "precision", "devices"),
    "adahessian": ("compile", "precision", "devices"),
}

#: Keys of what a training runs on, which change nothing that it learns but by rounding.
MACHINE = ("device", "devices", "workers")


class TrainingConfig(Section):
    """The neural operators trained by `make train`; the defaults suit two CPU cores."""

    model: Model | tuple[Model, ...] = Field(
        "fno",
        description="A model that `kryloset models` lists, or `path/to/file.py:Class`: a class in "
        "a file of your own, with a path relative to the working directory; or a list of them.",
    )
    settings: dict[str, dict[str, Any]] = Field(
        {},
        description="Settings of models that differ from their defaults, by name of the model "
        "(for one of your own, its class), as in {fno: {modes: 16}}; `kryloset models NAME` lists "
        "them.",
    )
    where: Literal["auto", "grid", "mesh"] = Field(
        "auto",
        description="Where networks on points learn. grid; mesh: at the nodes of the mesh, which "
        "may be another one for each instance; auto: on the mesh, where its nodes are not the "
        "points of the grid and `grids` names none. Networks on grids, such as fno, learn on the "
        "grid.",
    )
    seeds: tuple[Seed, ...] = Field(
        (0,),
        min_length=1,
        max_length=1000,
        description="Seeds of the initial weights and of the batches. Each model is trained once "
        "with each of them.",
    )
    grids: tuple[GridPoints, ...] = Field(
        (),
        description="Points of the grids to learn on, such as [33] or [[129, 65], 33]: any of "
        "`mesh.grids` and that of `mesh.points`. One network learns on all of them, in turn: each "
        "batch is of one grid. []: the grid of `mesh.points`.",
    )
    window: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None,
        description="States of a trajectory from which networks predict the next one. 0: they "
        "predict the last state from the parameters. null: as many as `bundle`, for a family with "
        "time steps.",
    )
    stride: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None,
        description="Time steps of the dataset from one of these states to the next. null: as "
        "many as make at most 20 steps of a trajectory.",
    )
    bundle: int = Field(
        1,
        ge=1,
        le=1000,
        description="States that networks predict at once, one after another; `window` has at "
        "least as many.",
    )
    steps: int = Field(
        1,
        ge=1,
        le=1000,
        description="Steps that networks make in a row while they learn, each from what they have "
        "predicted; the loss is that of all of them.",
    )
    epochs: int = Field(30, ge=1, le=100_000, description="Passes over the training split.")
    pairs: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Pairs that each epoch draws anew at random, on each grid, and of which as "
        "many of `valid` are measured. null: all; of trajectories at most 4000, or one of each "
        "trajectory, if these are more.",
    )
    batch_size: int = Field(8, ge=1, le=65_536, description="Instances per step of the optimiser.")
    optimiser: Literal["adamw", "lion", "soap", "lbfgs", "adahessian"] = Field(
        "adamw", description="The optimiser (docs/how-to/optimisation.md)."
    )
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None,
        description="Largest learning rate. null: that of the model, which `kryloset models NAME` "
        "tells, times the factor of the optimiser.",
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Decoupled weight decay. null: 1e-4, but 0 for lbfgs, which has none."
    )
    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = Field(
        "one_cycle", description="How the learning rate changes from step to step."
    )
    warmup: int = Field(
        0,
        ge=0,
        description="Epochs over which the learning rate first rises linearly; one_cycle has its "
        "own rise.",
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest norm of the gradient over all weights. null: any."
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Epochs without a smaller error on `valid` after which the training stops. "
        "null: it runs for all epochs.",
    )
    average: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Decay of the exponential moving average of the weights, which is then "
        "measured and kept. null: the weights themselves.",
    )
    loss: Literal["l2", "h1"] = Field(
        "l2", description="Training loss: relative L2 or relative H1 norm of the error."
    )
    residual: float = Field(
        0.0,
        ge=0,
        description="Weight, in the training loss, of the mean relative residual of predictions by "
        "the family's own equations: ||b - A x|| / ||b|| of a linear system or of a time step, "
        "||F(u)|| / ||F(0)|| of a nonlinear one. 0: none.",
    )
    start: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="The `model.pt` of a finished training whose weights and scaling this one "
        "begins with, with a path relative to the working directory. null: random weights.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where models are trained and evaluated. auto: on a GPU if torch finds one; "
        "cuda: on a GPU, for which jobs of Slurm then ask (docs/how-to/gpu.md).",
    )
    devices: int = Field(
        1, ge=1, le=1024, description="GPUs, or processes on a CPU, that share each batch."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Of most operations within the network. The weights, losses and errors are in "
        "float32.",
    )
    compile: bool = Field(False, description="Whether torch.compile compiles the network.")
    workers: int = Field(
        0, ge=0, le=1024, description="Processes that read batches beside the training."
    )
    online: OnlineConfig | None = Field(
        None,
        # By default, a training has the configuration that it had before this key existed.
        exclude_if=lambda online: online is None,
        description="How models learn while instances are being solved (docs/how-to/online.md). "
        "null: they learn from the dataset once it is made.",
    )

    @model_validator(mode="after")
    def _optimiser_is_able(self) -> "TrainingConfig":
        for key in UNABLE.get(self.optimiser, ()):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}: the optimiser {self.optimiser} cannot do that, so leave out this key, "
                    "or take another optimiser"
                )
        return self

    @model_validator(mode="after")
    def _meshes_have_no_grid(self) -> "TrainingConfig":
        if self.where == "mesh" and self.grids:
            raise ValueError(
                "grids: with `where: mesh`, networks learn on meshes: leave out one of both"
            )
        return self

    @model_validator(mode="after")
    def _grids_differ(self) -> "TrainingConfig":
        each = [points_of(points) if isinstance(points, tuple) else points for points in self.grids]
        if len(set(each)) < len(each):
            raise ValueError(
                f"grids: {plain(self.grids)} names a grid twice: name each once, and a single one "
                "with other points along each axis as [[129, 65]]"
            )
        return self

    @model_validator(mode="after")
    def _steps_start_from_states(self) -> "TrainingConfig":
        given = {
            "window": bool(self.window),
            "steps": self.steps > 1,
            "bundle": self.bundle > 1,
            "stride": self.stride is not None,
        }
        for key in (key for key, told in given.items() if told):
            if self.window == 0:
                raise ValueError(
                    f"{key}: with `window: 0`, networks predict the last state at once: leave out "
                    "one of both"
                )
        return self

    @model_validator(mode="after")
    def _stream_is_learnt_once(self) -> "TrainingConfig":
        if self.online is None:
            return self
        if len(self.grids) > 1:
            raise ValueError("grids: a training with `online` learns on one grid: name one alone")
        if self.online.buffer in ("firo", "fifo") and self.epochs > 1:
            raise ValueError(
                f"epochs: the buffer {self.online.buffer} gives each pair once, so set epochs to "
                "1, or take the buffer balanced"
            )
        for key in ("patience", "devices", "workers", "where", "residual", "start", "pairs"):
            usual = (type(self).model_fields[key].default, *(["grid"] if key == "where" else []))
            if getattr(self, key) not in usual:
                raise ValueError(f"{key}: a training with `online` cannot do that: leave it out")
        return self

    @model_validator(mode="after")
    def _residuals_are_on_the_own_grid(self) -> "TrainingConfig":
        if self.residual and self.grids:
            raise ValueError(
                "residual: equations are those on the grid of `mesh.points`, so leave out `grids`, "
                "or take 0"
            )
        return self

    @model_validator(mode="after")
    def _warmup_is_followed(self) -> "TrainingConfig":
        if self.warmup and self.schedule == "one_cycle":
            raise ValueError(
                "warmup: the schedule one_cycle has a rise of its own, so leave it out"
            )
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup: it takes less than the {self.epochs} epochs of the training")
        return self

    @model_validator(mode="after")
    def _start_is_of_the_same_kind(self) -> "TrainingConfig":
        if self.start is not None and len(self.models) > 1:
            raise ValueError(
                "start: its weights are those of one kind of model, so name one model, not "
                f"{', '.join(self.labels)}"
            )
        return self

    @model_validator(mode="after")
    def _each_training_is_one(self) -> "TrainingConfig":
        for key, values in (("model", [*map(label_of, self.models)]), ("seeds", [*self.seeds])):
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice or not values:
                told = f"{twice[0]!r} is there twice" if twice else "the list is empty"
                raise ValueError(f"{key}: {told}, so give each once, under a name of its own")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models, of which there may be one alone."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def labels(self) -> dict[str, str]:
        """The models by what results call them."""
        return {label_of(model): model for model in self.models}

    @property
    def decay(self) -> float:
        """The decoupled weight decay."""
        usual = 0.0 if "weight_decay" in UNABLE.get(self.optimiser, ()) else 1e-4
        return usual if self.weight_decay is None else self.weight_decay

    @property
    def gpus(self) -> int:
        """GPUs that a training asks for: those of `devices`, if `device` says so."""
        return self.devices if self.device == "cuda" else 0

    @property
    def anywhere(self) -> "TrainingConfig":
        """The same training on the machine of the defaults."""
        fields = type(self).model_fields
        usual = {key: fields[key].default for key in MACHINE}
        online = self.online and self.online.anywhere
        return self.model_copy(update={**usual, "online": online})

    def only(self, label: str | None = None, seed: int | None = None) -> "TrainingConfig":
        """Return the configuration of a single training, which no other model or seed affects.

        Args:
            label: Which model, as `labels` calls it; None if there is only one.
            seed: Which seed; None if there is only one.

        Raises:
            ConfigError: There is no such model or seed, or a choice has to be made.
        """
        chosen = _choose("model", list(self.labels), label)
        settings = self.settings.get(chosen)
        return self.model_copy(
            update={
                "model": self.labels[chosen],
                "settings": {chosen: settings} if settings else {},
                "seeds": (_choose("seeds", list(self.seeds), seed),),
            }
        )


def label_of(model: str) -> str:
    """Return what results call a model: its name, or the class of one's own."""
    return model.rpartition(":")[2]


def _choose[T](key: str, there: list[T], wanted: T | None) -> T:
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None or wanted not in there:
        asked = "is not one alone" if wanted is None else f"has no {wanted!r}"
        raise ConfigError(f"training.{key} {asked}: choose one of {', '.join(map(str, there))}")
    return wanted
