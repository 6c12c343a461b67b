# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Convergent Graph Solver, a network with a contracting fixed-point layer."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from kryloset.config.section import Section
from kryloset.learn.models.base import PointModel, Points, Task
from kryloset.learn.models.fixed_point import fixed_point
from kryloset.learn.models.graph import MessagePassing, mean_at, perceptron, softmax_at


class GraphSolver(PointModel):
    """Convergent Graph Solver: fixed points of linear maps that a graph network makes.

    Park, Choo and Park, "Convergent graph solvers", ICLR 2022. Message passing on the mesh makes
    the parameters of several contracting linear maps of functions on the nodes. Their fixed points
    reach across the mesh, however few steps of message passing there are. A perceptron makes the
    outputs of the fixed points and of the node.

    A map takes z to γ g_i Σ_j s_ij z_j + (1 - γ g_i) b_i at node i, where s is a softmax over the
    neighbours j and g is between 0 and 1. So it contracts by γ in the maximum norm, as in the
    paper, and its fixed point is within the range of b, for γ close to 1, too. The paper divides
    the s_ij by the number of neighbours, has no g, and makes the outputs of the fixed points alone.
    """

    learning_rate: ClassVar[float] = 2e-3
    second_derivative: ClassVar[bool] = False

    class Settings(Section):
        """Settings of the model `cgs`."""

        width: int = Field(64, ge=1, le=1024, description="Channels of nodes and edges.")
        layers: int = Field(3, ge=0, le=64, description="Steps of message passing.")
        heads: int = Field(16, ge=1, le=256, description="Contracting maps.")
        contraction: float = Field(
            0.95,
            gt=0,
            lt=1,
            description="Factor γ by which a map contracts. The steps to a fixed point grow as "
            "1 / (1 - γ), and the distance across which it carries as the root of this.",
        )
        tolerance: float = Field(
            1e-4,
            gt=0,
            lt=1,
            description="Relative error of a fixed point.",
        )

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        width, heads = settings.width, settings.heads
        self.settings = settings
        self.periodic = task.periodic
        self.nodes = perceptron(len(task.inputs) + task.dimensions, width, width)
        self.edges = perceptron(task.dimensions + 1, width, width)
        self.steps = nn.ModuleList(MessagePassing(width) for _ in range(settings.layers))
        self.logits = nn.Linear(width, heads)
        self.gates = nn.Linear(width, heads)
        self.sources = nn.Linear(width, heads)
        self.outputs = perceptron(width + heads, width, len(task.outputs))

    def forward(self, x: Tensor, points: Points) -> Tensor:
        """Return outputs (P, K) for inputs (P, C)."""
        nodes = self.nodes(torch.cat((x, points.positions), dim=1))
        edges = self.edges(self._displacements(points))
        for step in self.steps:
            nodes, edges = step(nodes, edges, points.edges)
        values, source = self.maps(nodes, edges, points.edges)
        states = fixed_point(
            values,
            source,
            points.edges,
            contraction=self.settings.contraction,
            tolerance=self.settings.tolerance,
        )
        outputs: Tensor = self.outputs(torch.cat((nodes, states), dim=1))
        return outputs

    def maps(self, nodes: Tensor, edges: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the entries (E, heads) of the maps, and what they add at the nodes (P, heads)."""
        to, _ = ends
        # Rounding of half precision would let the maps expand.
        precise = torch.promote_types(nodes.dtype, torch.float32)
        kept = self.settings.contraction * self.gates(nodes).to(precise).sigmoid()
        shares = softmax_at(self.logits(edges).to(precise), to, len(nodes))
        return kept[to] * shares, (1 - kept) * self.sources(nodes).to(precise)

    def _displacements(self, points: Points) -> Tensor:
        """Return displacements along edges and their lengths, relative to the instance's mean."""
        to, of = points.edges
        along = points.positions[of] - points.positions[to]
        periodic = torch.tensor(self.periodic, device=along.device)
        along = torch.where(periodic, along - along.round(), along)
        length = along.norm(dim=1, keepdim=True)
        instance = points.instance[to]
        mean = mean_at(length, instance, points.count)[instance]
        return torch.cat((along, length), dim=1) / mean
