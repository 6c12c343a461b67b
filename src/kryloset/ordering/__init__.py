# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Orders in which neighbours resemble each other, and their division into chunks."""

from kryloset.ordering.clusters import cluster, k_medoids
from kryloset.ordering.greedy import greedy_chain
from kryloset.ordering.hilbert import hilbert_chain
from kryloset.ordering.orders import ORDERS
from kryloset.ordering.partition import partition
from kryloset.ordering.quality import steps
from kryloset.ordering.spanning_tree import spanning_tree_walk

__all__ = [
    "ORDERS",
    "cluster",
    "greedy_chain",
    "hilbert_chain",
    "k_medoids",
    "partition",
    "spanning_tree_walk",
    "steps",
]
