# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tells mistakes in a user's own network from faults of the package."""

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn

from kryloset.config import Section
from kryloset.errors import ConfigError, KrylosetError
from kryloset.learn.models.base import GridModel, Network, OnGrid, PointModel
from kryloset.problems.checks.mistakes import Place, describe_error
from kryloset.problems.checks.own_files import source_files

logger = logging.getLogger(__name__)


def require_usable(kind: type[Network], name: str) -> None:
    """Refuse a class that cannot be a network, as far as this shows before there are data.

    Args:
        kind: The class.
        name: What messages call it: `file.py:Class`.

    Raises:
        ConfigError: It lacks something, or has it otherwise than `Network` says.
    """
    if not (isinstance(kind.Settings, type) and issubclass(kind.Settings, Section)):
        raise ConfigError(
            f"model {name!r}: its Settings do not derive from kryloset.config.Section"
        )
    rate: Any = kind.learning_rate
    if not (isinstance(rate, int | float) and rate > 0):
        raise ConfigError(
            f"model {name!r}: its learning_rate is {rate!r}: make it a number above 0"
        )
    if kind.forward in (GridModel.forward, PointModel.forward):
        raise ConfigError(f"model {name!r} has no method `forward`: write one")
    try:
        inspect.signature(kind).bind(None, None)
    except TypeError as error:
        raise ConfigError(
            f"model {name!r} is made by {kind.__name__}(settings, task), which its __init__ does "
            f"not take: {error}"
        ) from None


def require_outputs(operator: nn.Module, name: str, outputs: int, *arguments: Any) -> None:
    """Refuse a network whose outputs have another shape, which might pass for those of all points.

    Args:
        operator: The operator around it, which has learnt nothing yet.
        name: What messages call the network.
        outputs: Its number of output channels, K.
        arguments: What the operator maps, for some instances.

    Raises:
        ConfigError: They do, or the network has no weights that could learn.
    """
    if not any(weight.requires_grad for weight in operator.parameters()):
        raise ConfigError(f"model {name!r} has no weights that learn: give it some")
    network = operator.network

    def require(_: nn.Module, inputs: tuple[Any, ...], found: Any) -> None:
        size, _, *grid = inputs[0].shape
        wanted = (size, outputs, *grid)
        if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"model {name!r}: forward returns {shape} for inputs {tuple(inputs[0].shape)}, and "
                f"not {wanted}"
            )

    of = network.network if isinstance(network, OnGrid) else network
    hook = of.register_forward_hook(require)
    operator.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            operator(*arguments)
    finally:
        hook.remove()


@contextmanager
def network_blamed(name: str | None) -> Iterator[None]:
    """Turn what a user's network raises into an error that names method and line.

    Errors with a message for users pass unchanged, and so do exceptions of the package's networks.

    Args:
        name: The network as `file.py:Class`, if it is a user's own.

    Raises:
        ConfigError: The network raised an exception.
    """
    try:
        yield
    except KrylosetError:
        raise
    except Exception as error:
        path, colon, _ = (name or "").rpartition(":")
        own = {*map(os.path.abspath, source_files(Path(path)).values() if colon else ())}
        places = [
            Place(frame.f_code, line)
            for frame, line in walk_tb(error.__traceback__)
            if frame.f_code.co_filename in own
        ]
        if not places:
            raise
        logger.debug("exception in a network", exc_info=error)
        where = f"model {name!r}, {places[-1].code.co_name}, {places[-1]}"
        raise ConfigError(f"{where}: {describe_error(error)}") from error
