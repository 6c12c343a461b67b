# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks as users write them."""

import neuralop.models
import torch
from pydantic import Field
from torch import nn

from kryloset.config import Section
from kryloset.learn.models.base import GridModel, PointModel


class Pointwise(GridModel):
    """The same affine map at every point."""

    class Settings(Section):
        """How wide it is."""

        width: int = Field(4, ge=1, description="Hidden channels.")

    def __init__(self, settings, task):
        """Draw the weights."""
        super().__init__()
        self.first = nn.Conv2d(len(task.inputs), settings.width, 1)
        self.last = nn.Conv2d(settings.width, len(task.outputs), 1)

    def forward(self, x):
        """Return outputs (N, K, *grid)."""
        return self.last(self.first(x).tanh())


class Fourier(GridModel):
    """A network of neuraloperator, which keeps the coordinates that it computed first."""

    def __init__(self, settings, task):
        """Draw the weights."""
        super().__init__()
        self.network = neuralop.models.FNO((2, 2), len(task.inputs), len(task.outputs), 2, 1)

    def forward(self, x):
        """Return outputs (N, K, *grid)."""
        return self.network(x)


class Local(PointModel):
    """An affine map at each point, of inputs and position, plus the mean over neighbours."""

    def __init__(self, settings, task):
        """Draw the weights."""
        super().__init__()
        self.map = nn.Linear(len(task.inputs) + task.dimensions, len(task.outputs))

    def forward(self, x, points):
        """Return outputs (P, K)."""
        here, there = points.edges
        found = self.map(torch.cat((x, points.positions), dim=1))
        degree = torch.bincount(here, minlength=len(x))[:, None].clamp(min=1)
        return found + torch.zeros_like(found).index_add(0, here, found[there]) / degree
