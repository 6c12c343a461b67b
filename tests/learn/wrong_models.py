# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks with mistakes, as users make them."""

from torch import nn

from kryloset.learn.models.base import GridModel, PointModel


class Pointwise(GridModel):
    """The same affine map at every point; the others derive from it."""

    def __init__(self, settings, task):
        """Draw the weights."""
        super().__init__()
        self.map = nn.Conv2d(len(task.inputs), len(task.outputs), 1)

    def forward(self, x):
        """Return outputs (N, K, *grid)."""
        return self.map(x)


class Column(Pointwise):
    """Returns one point of an axis, which would be taken for all of them."""

    def forward(self, x):
        """Return outputs (N, K, x, 1)."""
        return self.map(x)[..., :1]


class Squeezed(Pointwise):
    """Forgets the axis of channels."""

    def forward(self, x):
        """Return outputs (N, *grid)."""
        return self.map(x)[:, 0]


class Pair(Pointwise):
    """Returns more than the outputs."""

    def forward(self, x):
        """Return outputs and something else."""
        return self.map(x), x


class Mean(PointModel):
    """Returns one value for all points."""

    def __init__(self, settings, task):
        """Draw the weights."""
        super().__init__()
        self.map = nn.Linear(len(task.inputs), len(task.outputs))

    def forward(self, x, points):
        """Return outputs (1, K)."""
        return self.map(x).mean(dim=0, keepdim=True)


class Weightless(Pointwise):
    """Has nothing that learns."""

    def __init__(self, settings, task):
        """Freeze the weights."""
        super().__init__(settings, task)
        self.requires_grad_(False)


class Failing(Pointwise):
    """Multiplies what cannot be multiplied."""

    def forward(self, x):
        """Raise a RuntimeError."""
        return x @ x.new_ones(7, 7)


class Late(Pointwise):
    """Fails with batches that are measured, which are larger than those of the training."""

    def forward(self, x):
        """Raise a ValueError."""
        if len(x) > 8:
            raise ValueError("too many")
        return self.map(x)


class Unmade(Pointwise):
    """Asks for what nobody has given."""

    def __init__(self, settings, task):
        """Raise a KeyError."""
        super().__init__(settings, task)
        self.depth = {}["depth"]


class NoSettings(Pointwise):
    """Has Settings of another kind."""

    Settings = dict


class NoRate(Pointwise):
    """Has a learning rate that is no number."""

    learning_rate = "fast"


class NoArguments(GridModel):
    """Is not made from settings and a task."""

    def __init__(self):
        """Take nothing."""
        super().__init__()

    def forward(self, x):
        """Return the inputs."""
        return x


class NoForward(GridModel):
    """Maps nothing."""

    def __init__(self, settings, task):
        """Take settings and a task."""
        super().__init__()
