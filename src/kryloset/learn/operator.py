# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A neural operator between physical functions, and its file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kryloset.config import TrainingConfig
from kryloset.dataset.atomic import write_whole
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.models.base import Network, OnGrid, PointModel, Points, Task
from kryloset.learn.models.own import network_blamed, require_outputs
from kryloset.learn.models.registry import model_class, read_settings
from kryloset.learn.pairs import Pairs, open_trajectories
from kryloset.learn.saved import load_saved
from kryloset.learn.scaling import Scaling


class Operator(nn.Module):  # type: ignore[misc]
    """A network between physical functions, with the scaling of inputs and outputs.

    Args:
        scaling: The scaling of inputs and outputs.
        network: Maps tensors (N, C, *grid) to (N, K, *grid), both of about unit size; or is a
            `PointModel`.

    Attributes:
        about: Metadata from the file of a loaded model; empty for a new one.
    """

    def __init__(self, scaling: Scaling, network: nn.Module) -> None:
        """Combine scaling and network."""
        super().__init__()
        self.scaling = scaling
        self.network = network
        self.about: Mapping[str, Any] = {}

    def forward(self, x: Tensor, *points: Points) -> Tensor:
        """Return the outputs (N, K, *grid) for inputs (N, C, *grid), in physical units.

        If the inputs have a mask, the outputs are NaN at points outside the domain.

        Args:
            x: The inputs; (P, C) for an operator on points, which returns (P, K).
            points: The points, for such an operator alone: those of a `PointBatch`.
        """
        result: Tensor = self.scaling.decode(self.network(self.scaling.encode(x), *points))
        if self.scaling.states:
            result = self.scaling.states.last(x) + result
        return torch.where(x[:, -1:] != 0, result, torch.nan) if self.scaling.masked else result

    def roll_out(self, x: Tensor, steps: int, *points: Points) -> Tensor:
        """Return the states of several steps, each from those before: (N, steps, K, *grid).

        Args:
            x: The inputs of the first step, with states of a trajectory among them; for an operator
                on points (P, C), which returns (P, steps, K).
            steps: Number of steps.
            points: As of `forward`.

        Raises:
            DataError: No inputs are states.
        """
        if not (states := self.scaling.states):
            raise DataError("the operator makes no steps: no inputs of it are states")
        return states.roll_out(lambda inputs: self(inputs, *points), x, steps)

    def trajectories(self, path: Path | str, split: str) -> FieldPairs | MeshPairs:
        """Return whole trajectories of a dataset, with the window and the time step of a model.

        They are where the model learned: on the grid, or at the nodes of meshes.

        Args:
            path: The dataset's file.
            split: One of its splits.

        Raises:
            DataError: As `open_trajectories`, `FieldPairs` and `MeshPairs`.
        """
        kind = MeshPairs if self.about["where"] == "mesh" else FieldPairs
        return open_trajectories(Task.read(self.about), Path(path), kind)(path, split)


class Unrolled(nn.Module):  # type: ignore[misc]
    """Several steps of an operator as one module, which learns from all of them.

    Args:
        operator: The operator.
        steps: Number of steps.
    """

    def __init__(self, operator: Operator, steps: int) -> None:
        """Keep the operator."""
        super().__init__()
        self.operator = operator
        self.steps = steps

    def forward(self, x: Tensor, *points: Points) -> Tensor:
        """Return the states of the steps, (N, steps, K, *grid), for inputs (N, C, *grid)."""
        return self.operator.roll_out(x, self.steps, *points)


def unroll(operator: Operator, steps: int) -> nn.Module:
    """Return an operator, or several steps of it, as a module with its weights."""
    return operator if steps == 1 else Unrolled(operator, steps)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, without metadata."""
    # `neuraloperator` adds its constructor's arguments. Some are functions, which torch refuses to
    # load from untrusted files.
    return {key: value for key, value in module.state_dict().items() if key != "_metadata"}


def describe(pairs: Pairs, training: TrainingConfig, kind: type[Network]) -> dict[str, Any]:
    """Return the metadata that identify a model and are needed to build it again.

    Args:
        pairs: What it learns from.
        training: The configuration of this training alone, of `TrainingConfig.only`.
        kind: Class of the network.

    Raises:
        ConfigError: As `read_settings`.
    """
    ((label, name),) = training.labels.items()
    settings = read_settings(kind, name, training.settings.get(label, {}))
    return {
        "model": name,
        "settings": settings.model_dump(),
        "where": pairs.place,
        **pairs.task.describe(),
        "training": describe_training(training),
        "dataset": pairs.digest,
    }


def describe_training(training: TrainingConfig) -> dict[str, Any]:
    """Return the metadata of a model about its training alone, and not about its network."""
    return training.model_dump(exclude={"model", "settings"})


def build_network(about: Mapping[str, Any], kind: type[Network]) -> nn.Module:
    """Build the network that metadata describe; torch's global generator draws its weights.

    Args:
        about: Metadata, as of `describe`.
        kind: Class of the network.
    """
    task = Task.read(about)
    network = kind(read_settings(kind, about["model"], about["settings"]), task)
    on_grid = about["where"] == "grid" and isinstance(network, PointModel)
    return OnGrid(network, task) if on_grid else network


def begin_operator(
    about: Mapping[str, Any],
    kind: type[Network],
    pairs: Sequence[FieldPairs | MeshPairs],
    device: torch.device,
) -> Operator:
    """Build an operator that has learnt nothing; torch's global generator draws its weights.

    A network of somebody's own is tried on two instances, on the device where it will learn: it may
    keep there what it has computed, such as coordinates.

    Args:
        about: Metadata, as of `describe`.
        kind: Class of the network.
        pairs: What it learns from, on each grid; the scaling is that of the first ones.
        device: Where the operator will be.

    Raises:
        DataError: A parameter with a logarithmic transform is not positive.
        ConfigError: As `require_outputs`.
    """
    operator, name = Operator(Scaling.fit(pairs[0]), build_network(about, kind)), about["model"]
    operator.to(device)
    if ":" in name:
        for there in pairs:
            loader = DataLoader(there, 2, collate_fn=there.join, generator=torch.Generator())
            some = next(iter(loader))
            require_outputs(operator, name, len(there.outputs), *some.to(device).arguments)
    return operator


def save_model(path: Path, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a model: its metadata, and its weights with the scaling.

    Raises:
        DataError: The file cannot be written.
    """
    with write_whole(path) as part:
        torch.save({"about": dict(about), "weights": dict(state)}, part)


class Stored(NamedTuple):
    """What a model's file has.

    Attributes:
        about: Its metadata.
        weights: Its weights with the scaling.
    """

    about: dict[str, Any]
    weights: dict[str, Tensor]


def read_model(path: Path | str) -> Stored:
    """Read a model's file, without building it.

    Raises:
        DataError: The file is missing, damaged, or not a model of Kryloset.
    """
    content = load_saved(path)
    try:
        found = Stored(content["about"], content["weights"])
        Task.read(found.about)
        found.about["model"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged or not a model of Kryloset, or of an earlier version, which has to "
            f"be trained again: it has no {error}"
        ) from None
    return found


def load_model(path: Path | str, network: type[Network] | None = None) -> Operator:
    """Build a trained operator from its file, on the CPU.

    Its `about` has the name and the settings of the model, `where` it learned (grid or mesh), the
    channels and the grid of training as in `Task`, the configuration of the training, and the
    digest of the dataset.

    Args:
        path: The file.
        network: The class of the network, if it is one of your own. No file is executed because
            a model names it.

    Raises:
        DataError: The file is missing, damaged, or not a model of Kryloset; or its network is
            not one of the package, and no class is given, or one that has other weights.
    """
    about, state = read_model(path)
    name, task = about["model"], Task.read(about)
    if network is None and ":" in name:
        raise DataError(
            f"{path} has a network of somebody's own, {name}: give it by `--network {name}`, or "
            f"its class, as in load_model({str(path)!r}, {name.rpartition(':')[2]})"
        )
    kind = network or model_class(name)
    if ":" not in name and kind is not model_class(name):
        raise DataError(f"{path} has the network {name} of the package: give no other class for it")
    channels = len(task.inputs), len(task.outputs)
    # Placeholders of the right shapes; the weights contain the true values.
    inputs, outputs = ([(0.0, 1.0)] * count for count in channels)
    logarithmic = [False] * channels[0]
    axes = task.dimensions if about["where"] == "grid" else 0
    scaling = Scaling(logarithmic, inputs, outputs, axes, masked=task.masked, states=task.states)
    operator = Operator(scaling, build_network(about, kind))
    try:
        operator.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"{path} has other weights than the network {name}, which was edited since it was "
            f"trained, or is another one: take it as it was, or train it again. {error}"
        ) from None
    operator.eval()
    operator.about = about
    return operator


def load_with_network(path: Path, network: str | None) -> Operator:
    """Build a trained operator whose network, if it is one of somebody's own, a command names.

    Args:
        path: The file.
        network: The network as `file.py:Class`.

    Raises:
        ConfigError: There is no such network, or it raises an exception.
        DataError: As `load_model`.
    """
    with network_blamed(network):
        return load_model(path, None if network is None else model_class(network))
