# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The orders by their names in configurations."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kryloset.ordering.greedy import greedy_chain
from kryloset.ordering.hilbert import hilbert_chain
from kryloset.ordering.spanning_tree import spanning_tree_walk

ORDERS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.int64]]] = {
    "greedy": greedy_chain,
    "hilbert": hilbert_chain,
    "or_opt": partial(hilbert_chain, refine=True),
    "spanning_tree": spanning_tree_walk,
    "given": lambda features: np.arange(len(features)),
}
"""Functions from vectors, shape (N, d), to a permutation of 0, ..., N - 1."""
