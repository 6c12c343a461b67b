# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parts of networks on graphs: sums over neighbours, and message passing."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear maps between these widths, with GELU between two of them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def add_at(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return the sums of rows with the same place: (count, C) from (E, C) and (E,)."""
    # A GPU adds one after another in the type of the sum. In bfloat16, 256 + 1 is 256.
    precise = values.to(torch.promote_types(values.dtype, torch.float32))
    return precise.new_zeros((count, values.shape[1])).index_add(0, places, precise)


def count_at(places: Tensor, count: int) -> Tensor:
    """Return how many rows have each place, (count,): a count that is known before the values."""
    return torch.zeros(count, dtype=torch.int64, device=places.device).index_add(
        0, places, torch.ones_like(places)
    )


def mean_at(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return the means of rows with the same place, and 0 where there are none."""
    return add_at(values, places, count) / count_at(places, count).clamp(min=1)[:, None]


def softmax_at(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return exp(values), divided by the sum of those with the same place: (E, C)."""
    lowest = values.new_full((count, values.shape[1]), -torch.inf)
    index = places[:, None].expand_as(values)
    highest = lowest.scatter_reduce(0, index, values.detach(), "amax")
    shifted = (values - highest[places]).exp()
    return shifted / add_at(shifted, places, count)[places]


class MessagePassing(nn.Module):  # type: ignore[misc]
    """A step in which neighbours exchange messages that update edges and nodes.

    Edges e and nodes h become e + a(h_i, h_j, e) and h + b(h_i, mean of the new e over the
    neighbours j), as in Pfaff et al., "Learning mesh-based simulation with graph networks",
    ICLR 2021, section 3.2.1, with the mean for their sum.

    Args:
        width: Channels of nodes and of edges.
    """

    def __init__(self, width: int) -> None:
        """Draw the weights."""
        super().__init__()
        # A linear map of a node is computed once, and not for each of its edges.
        self.at_end = nn.Linear(width, width)
        self.at_start = nn.Linear(width, width, bias=False)
        self.along = nn.Linear(width, width, bias=False)
        self.edge = nn.Sequential(nn.GELU(), nn.Linear(width, width))
        self.node = perceptron(2 * width, width, width)

    def forward(self, nodes: Tensor, edges: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new nodes (P, width) and edges (E, width).

        Args:
            nodes: (P, width).
            edges: (E, width).
            ends: (2, E), the node that receives a message and the one that sends it.
        """
        to, of = ends
        edges = edges + self.edge(
            self.at_end(nodes)[to] + self.at_start(nodes)[of] + self.along(edges)
        )
        received = mean_at(edges, to, nodes.shape[0])
        return nodes + self.node(torch.cat((nodes, received), dim=1)), edges
