# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Fourier neural operator between physical functions, and its model file."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from neuralop.models import FNO
from torch import Tensor, nn

from kryloset.config import TrainingConfig
from kryloset.dataset.atomic import write_whole
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs, Scaling
from kryloset.problems.checks.coverage import INSIDE


class Operator(nn.Module):  # type: ignore[misc]
    """A network between physical functions, with the scaling of inputs and outputs.

    Args:
        scaling: The scaling of inputs and outputs.
        network: Maps tensors (N, C, *grid) to (N, K, *grid), both of about unit size.

    Attributes:
        about: Metadata from the file of a loaded model; empty for a new one.
    """

    def __init__(self, scaling: Scaling, network: nn.Module) -> None:
        """Combine scaling and network."""
        super().__init__()
        self.scaling = scaling
        self.network = network
        self.about: Mapping[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, K, *grid) for inputs (N, C, *grid), in physical units.

        If the inputs have a mask, the outputs are NaN at points outside the domain.
        """
        result: Tensor = self.scaling.decode(self.network(self.scaling.encode(x)))
        return torch.where(x[:, -1:] != 0, result, torch.nan) if self.scaling.masked else result


def build_fno(
    settings: TrainingConfig, dimensions: int, in_channels: int, out_channels: int
) -> nn.Module:
    """Build a Fourier neural operator; torch's global generator draws its weights.

    Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations",
    ICLR 2021, as implemented in the library `neuraloperator`: pointwise lifting of the input
    channels, Fourier layers with channel mixing, and pointwise projection to the output channels.
    The coordinates of the points are additional channels.

    Args:
        settings: Modes, width and layers.
        dimensions: Number of axes of the grid.
        in_channels: Channels C of the input.
        out_channels: Channels K of the output.
    """
    return FNO(
        n_modes=(settings.modes,) * dimensions,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden_channels=settings.width,
        n_layers=settings.layers,
        positional_embedding="grid",
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, without metadata."""
    # `neuraloperator` adds its constructor's arguments. Some are functions, which torch refuses to
    # load from untrusted files.
    return {key: value for key, value in module.state_dict().items() if key != "_metadata"}


def describe(pairs: FieldPairs, settings: TrainingConfig) -> dict[str, Any]:
    """Return the metadata that identify a model and are needed to build it again."""
    return {
        "inputs": list(pairs.inputs),
        "outputs": list(pairs.outputs),
        "dimensions": len(pairs.grid),
        "settings": settings.model_dump(),
        "dataset": pairs.digest,
    }


def save_model(path: Path, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a model: its metadata, and its weights with the scaling.

    Raises:
        DataError: The file cannot be written.
    """
    with write_whole(path) as part:
        torch.save({"about": dict(about), "weights": dict(state)}, part)


def load_model(path: Path | str) -> Operator:
    """Build a trained operator from its file.

    Its `about` contains the names of inputs and outputs, the settings, the digest of the dataset
    and the history of the training.

    Raises:
        DataError: The file is missing, damaged, or not a model of Kryloset.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about, state = content["about"], content["weights"]
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; `make train` makes it") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged or not a model of Kryloset: {error}") from None
    channels = len(about["inputs"]), len(about["outputs"])
    network = build_fno(TrainingConfig(**about["settings"]), about["dimensions"], *channels)
    # Placeholders of the right shapes; the weights contain the true values.
    inputs, outputs = ([(0.0, 1.0)] * count for count in channels)
    scaling = Scaling(
        [False] * channels[0],
        inputs,
        outputs,
        about["dimensions"],
        masked=about["inputs"][-1] == INSIDE.name,
    )
    operator = Operator(scaling, network)
    operator.load_state_dict(state)
    operator.eval()
    operator.about = about
    return operator
