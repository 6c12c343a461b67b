# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a network is trained: on which devices, in which precision, by how many processes."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import LightningEnvironment
from neuralop.layers.base_spectral_conv import BaseSpectralConv
from torch import nn
from torch.multiprocessing import ProcessRaisedException

from kryloset.config import TrainingConfig
from kryloset.errors import KrylosetError
from kryloset.learn.devices import find_device
from kryloset.learn.models.own import network_blamed
from kryloset.progress import start_logging

SIXTEEN_BITS = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}


class Autocast(MixedPrecision):  # type: ignore[misc]
    """Sixteen bits where torch's autocast takes them, but not for physical inputs."""

    def convert_input(self, data: Any) -> Any:
        """Return the input: as a number of sixteen bits, a permeability would have three digits."""
        return data


def make_fabric(settings: TrainingConfig) -> Fabric:
    """Return what a training runs on.

    Args:
        settings: Device, number of devices and precision.

    Raises:
        KrylosetError: torch does not find the devices, or the CPU lacks the precision.
    """
    device = find_device(settings.device).type
    if device == "cuda" and settings.devices > torch.cuda.device_count():
        raise KrylosetError(
            f"training.devices is {settings.devices}, but torch finds {torch.cuda.device_count()} "
            "GPUs: lower it, or ask for more of them (docs/how-to/gpu.md)"
        )
    if device == "cpu" and settings.precision == "float16":
        raise KrylosetError(
            "training.precision is float16, which needs a GPU: take bfloat16 or float32 on a CPU"
        )
    sixteen = SIXTEEN_BITS.get(settings.precision)
    return Fabric(
        accelerator=device,
        devices=settings.devices,
        strategy="ddp_spawn" if settings.devices > 1 else "auto",
        # The processes are started here, even in a job of Slurm.
        plugins=[LightningEnvironment(), Autocast(sixteen, device) if sixteen else Precision()],
    )


def transform_in_single(module: nn.Module) -> None:
    """Let Fourier layers take numbers of 32 bits: cuFFT has no others for most sizes of grids."""
    for layer in module.modules():
        if isinstance(layer, BaseSpectralConv):
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))


def launch(settings: TrainingConfig, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in as many processes as there are devices.

    Args:
        settings: Network, device, number of devices and precision.
        function: Is called with what `make_fabric` returns, and the arguments. If there are several
            devices, it and the arguments are pickled.
        arguments: Its arguments.

    Raises:
        KrylosetError: As `make_fabric`, or of the function.
    """
    fabric = make_fabric(settings)
    if settings.devices == 1:
        _call(fabric, settings, function, *arguments)
        return
    try:
        fabric.launch(_begin, logging.root.level, settings, function, *arguments)
    except ProcessRaisedException as error:
        # It has the text of what was raised in a process, whose message may have several lines.
        _, found, told = str(error).rpartition("\nkryloset.")
        if found and "\nTraceback" not in told:
            raise KrylosetError(told.partition(": ")[2].strip()) from None
        raise


def _begin(fabric: Fabric, level: int, *arguments: Any) -> None:
    """Call the function in a new process, of which the first one logs as its parent does."""
    start_logging(level if fabric.is_global_zero else logging.WARNING)
    _call(fabric, *arguments)


def _call(
    fabric: Fabric, settings: TrainingConfig, function: Callable[..., None], *arguments: Any
) -> None:
    """Call the function; what a user's network raises becomes an error with a message."""
    (name,) = settings.models
    with network_blamed(name):
        function(fabric, *arguments)
