# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Complex weights as pairs of real numbers."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call


class RealWeights(nn.Module):  # type: ignore[misc]
    """A module whose complex weights are pairs of real numbers to whatever trains it.

    SOAP, AdaHessian, the scaling of gradients in sixteen bits and their exchange between processes
    take real numbers only. The pairs share their memory with the complex weights, so a step changes
    the module itself.

    Args:
        module: The module, on its device. Afterwards its complex weights get no gradients of their
            own.

    Attributes:
        weights: What is trained: the real weights of the module, and the pairs, (..., 2).
    """

    def __init__(self, module: nn.Module) -> None:
        """Make the pairs."""
        super().__init__()
        self._module = (module,)  # in a tuple, so that its complex weights are none of this module
        self._pairs: dict[str, nn.Parameter] = {}
        trained = []
        for name, weight in module.named_parameters():
            if weight.is_complex():
                weight.requires_grad_(False)
                self._pairs[name] = nn.Parameter(torch.view_as_real(weight))
            trained.append(self._pairs.get(name, weight))
        self.weights = nn.ParameterList(trained)

    def forward(self, *arguments: Any) -> Any:
        """Call the module."""
        (module,) = self._module
        weights = {name: torch.view_as_complex(pair) for name, pair in self._pairs.items()}
        return functional_call(module, weights, arguments)
