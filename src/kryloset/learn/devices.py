# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The devices of torch, and the states of their random numbers."""

from typing import Literal

import torch

from kryloset.errors import KrylosetError


def find_device(wanted: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """Return the first GPU, or the CPU.

    Args:
        wanted: `auto` takes a GPU if torch finds one.

    Raises:
        KrylosetError: `cuda` is wanted, but torch finds no GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise KrylosetError(
            "training.device is cuda, but torch finds no GPU: take auto or cpu, or see "
            "docs/how-to/gpu.md"
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def random_states(device: torch.device) -> list[torch.Tensor]:
    """Return the states of torch's global generators: of the CPU, and of a GPU if it is one."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def restore_random(states: list[torch.Tensor], device: torch.device) -> None:
    """Restore the states that `random_states` returned, perhaps for another device."""
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
