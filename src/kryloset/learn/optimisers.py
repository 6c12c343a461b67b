# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Optimisers by name, from torch and `pytorch_optimizer`."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pytorch_optimizer import SOAP, AdaHessian, Lion
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import LBFGS, AdamW, Optimizer

#: For each optimiser, its learning rate for a network that AdamW trains with a rate of 1.
RELATIVE_RATES = {"adamw": 1.0, "lion": 0.1, "soap": 1.0, "adahessian": 10.0}


def default_rate(optimiser: str, adamw: float) -> float:
    """Return the learning rate of an optimiser for a network.

    Args:
        optimiser: Its name.
        adamw: The rate with which AdamW trains the network.
    """
    # The line search of L-BFGS begins with a whole quasi-Newton step.
    return 1.0 if optimiser == "lbfgs" else RELATIVE_RATES[optimiser] * adamw


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Let gradients that are computed here be differentiated, as AdaHessian does."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # The other kernels of attention have no second derivative. The next step frees the graph.
        warnings.filterwarnings("ignore", "Using backward.. with create_graph", UserWarning)
        yield


def make_optimiser(
    name: str, weights: Iterable[nn.Parameter], *, rate: float, decay: float
) -> Optimizer:
    """Return an optimiser of real weights.

    - `adamw`: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019;
    - `lion`: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023;
    - `soap`: Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", ICLR 2025;
    - `adahessian`: Yao et al., "AdaHessian: an adaptive second order optimizer for machine
      learning", AAAI 2021; it needs gradients of `loss.backward(create_graph=True)`;
    - `lbfgs`: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization",
      Math. Program. 45 (1989), with a line search for the strong Wolfe conditions. It has no weight
      decay.

    Args:
        name: Its name.
        weights: What it changes. None is complex: see `RealWeights`.
        rate: Learning rate.
        decay: Decoupled weight decay.
    """
    if name == "lbfgs":
        return LBFGS(weights, rate, line_search_fn="strong_wolfe")
    kind = {"adamw": AdamW, "lion": Lion, "soap": SOAP, "adahessian": AdaHessian}[name]
    made: Optimizer = kind(weights, lr=rate, weight_decay=decay)
    return made
