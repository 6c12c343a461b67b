# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""DeepONet: a sum of functions of the point, with coefficients that depend on the inputs."""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task, unit_coordinates

#: By dimension, what `torch` calls the interpolation that is linear along each axis.
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class DeepONet(GridModel):
    """Deep operator network: branch and trunk (Lu et al., 2021).

    Output k at the point y, for the values v of all inputs at fixed sensors, is

        u_k(y) = b_k + Σ_i B_ki(v) T_ki(y) / √p,  i = 1 ... p.

    The branch B and the trunk T are dense networks. L. Lu, P. Jin, G. Pang, Z. Zhang, G. E.
    Karniadakis, "Learning nonlinear operators via DeepONet based on the universal approximation
    theorem of operators", Nature Machine Intelligence 3 (2021), equation 2 and figure 1D. Each
    output has terms of its own, and the trunk sees a periodic axis by the cosine and sine of its
    coordinate: L. Lu et al., "A comprehensive and fair comparison of two neural operators (with
    practical extensions) based on FAIR data", Comput. Methods Appl. Mech. Engrg. 393 (2022),
    sections 3.1.3 and 3.1.6. The factor before the sum, which they do not have, keeps its size as
    p grows.

    The sensors are a grid of their own, to which inputs are interpolated along each axis. So the
    model takes inputs on a grid of any size and gives outputs at any points.
    """

    class Settings(Section):
        """Settings of the model `deeponet`."""

        sensors: int = Field(
            32, ge=2, le=1024, description="Points a side of the grid that the branch sees."
        )
        terms: int = Field(128, ge=1, le=65_536, description="Terms p of the sum, for each output.")
        width: int = Field(
            128, ge=1, le=65_536, description="Units of each hidden layer of branch and trunk."
        )
        branch_layers: int = Field(
            3, ge=1, le=64, description="Layers of the branch; one is a linear map."
        )
        trunk_layers: int = Field(3, ge=1, le=64, description="Layers of the trunk.")

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        self.task, self.sensors, self.outputs = task, settings.sensors, len(task.outputs)
        terms, hidden = self.outputs * settings.terms, settings.width
        seen = len(task.inputs) * settings.sensors**task.dimensions
        axes = task.dimensions + sum(task.periodic)
        self.branch = _dense(seen, hidden, terms, settings.branch_layers)
        self.trunk = nn.Sequential(_dense(axes, hidden, terms, settings.trunk_layers), nn.GELU())
        self.bias = nn.Parameter(torch.zeros(self.outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, K, *grid) for inputs (N, C, *grid)."""
        points = unit_coordinates(self.task, x).flatten(1).T
        return self.at(points, x).unflatten(-1, x.shape[2:])

    def at(self, points: Tensor, x: Tensor) -> Tensor:
        """Return the outputs (N, K, P) at points (P, D) in [0, 1] for inputs (N, C, *grid)."""
        coefficients = self.branch(self.sense(x).flatten(1)).unflatten(1, (self.outputs, -1))
        functions = self.trunk(self._wrap(points)).unflatten(1, (self.outputs, -1))
        return self.combine(coefficients, functions)

    def combine(self, coefficients: Tensor, functions: Tensor) -> Tensor:
        """Return (N, K, P), the sums of coefficients (N, K, p) times functions (P, K, p)."""
        total = torch.einsum("nkp,qkp->nkq", coefficients, functions)
        return total / coefficients.shape[-1] ** 0.5 + self.bias

    def sense(self, x: Tensor) -> Tensor:
        """Return the inputs at the sensors, (N, C, sensors, ...), by linear interpolation."""
        for axis, periodic in enumerate(self.task.periodic, start=2):
            if periodic:
                x = torch.cat((x, x.narrow(axis, 0, 1)), dim=axis)
        sizes = [self.sensors + periodic for periodic in self.task.periodic]
        seen = interpolate(x, sizes, mode=_LINEAR[len(sizes)], align_corners=True)
        for axis, periodic in enumerate(self.task.periodic, start=2):
            seen = seen.narrow(axis, 0, self.sensors) if periodic else seen
        return seen

    def _wrap(self, points: Tensor) -> Tensor:
        """Return what the trunk sees of points: a periodic axis as a circle."""
        columns = []
        for column, periodic in zip(points.T, self.task.periodic, strict=True):
            turn = 2 * torch.pi * column
            columns += [turn.cos(), turn.sin()] if periodic else [column]
        return torch.stack(columns, dim=1)


def _dense(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """Return a dense network of so many linear maps with GELU between them."""
    sizes = [inputs, *[hidden] * (layers - 1), outputs]
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.GELU(), nn.Linear(before, after)]
    return nn.Sequential(*parts[1:])
