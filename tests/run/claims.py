# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family without a PDE whose instances choose what its discretisation claims."""

import numpy as np

from kryloset.config import Section
from kryloset.errors import DataError
from kryloset.problems import Discretisation, Family, Variable


class Settings(Section):
    """The instances that the family refuses, and the residuals of all."""

    undrawable: int = -1
    unsolvable: int = -1
    residual: str | None = None


class Claims(Family):
    """A number, and a field that is the number plus the tolerance."""

    summary = "Claims"
    equation = "u = a + tolerance"
    Settings = Settings
    dimensions = (1,)
    parameters = (Variable("a", "number of the instance", dimensions=()),)
    fields = (Variable("u", "sum"),)

    @property
    def coordinates(self):
        """A line."""
        return {"x": np.linspace(0, 1, self.mesh.points)}

    def draw(self, generator):
        """Return the number of the instance, which is half of the generator's key."""
        _, number = generator.bit_generator.state["state"]["key"]
        if number == self.settings.undrawable:
            raise DataError("the polygon crosses itself")
        return {"a": np.asarray(float(number))}

    def discretise(self, comm):
        """Return the discretisation that claims."""
        return Claiming(self)


class Claiming(Discretisation):
    """A discretisation that solves no system, for two instances at once."""

    lanes = 2

    def __init__(self, family):
        """Keep the family."""
        self.family = family

    def solve(self, instances, solve):
        """Add the tolerance."""
        numbers = [float(instance["a"]) for instance in instances]
        if self.family.settings.unsolvable in numbers:
            raise DataError("a is negative")
        self.count = len(numbers)
        return [{"u": np.full(self.family.mesh.points, a + solve.tolerance)} for a in numbers]

    def residual(self, instance, solution):
        """Claim what the settings say."""
        return float(self.family.settings.residual or 0)

    def nonlinear_residuals(self):
        """Claim what the settings say."""
        claimed = self.family.settings.residual
        return [] if claimed is None else self.count * [float(claimed)]
