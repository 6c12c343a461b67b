# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family without a PDE whose instances fail, as they are drawn or as they are solved."""

from pointwise import Pointwise, PointwiseDivision

from kryloset.config.section import Section
from kryloset.errors import DataError, KrylosetError
from kryloset.problems.darcy import Darcy


class Settings(Section):
    """Shares of the instances that fail."""

    drawing: float = 0.0
    solving: float = 0.0


class Failing(Pointwise, axes=("x",)):
    """Instances with a small `nu` are none; those with a large one cannot be solved."""

    Settings = Settings

    def draw(self, generator):
        """Draw as before, and refuse the smallest."""
        drawn = super().draw(generator)
        if drawn["nu"] < self.settings.drawing:
            raise DataError(f"nu {drawn['nu']:.3f} is a resonance")
        return drawn

    def discretise(self, comm):
        """Return a division of four at a time, which fails for the largest."""
        return FailingDivision(1 - self.settings.solving)


class FailingDivision(PointwiseDivision):
    """A division that refuses."""

    lanes = 4

    def __init__(self, limit):
        """Keep the limit."""
        self.limit = limit

    def solve(self, instances, solve):
        """Divide, or fail."""
        for one in instances:
            if one["nu"] > self.limit:
                raise KrylosetError(f"nu {one['nu']:.3f} diverges")
        return super().solve(instances, solve)

    def evaluate(self, instance, solution):
        """Return what is stored."""
        return {}


class Steep(Darcy):
    """Darcy flow whose matrix overflows for some instances."""

    def draw(self, generator):
        """Make a quarter of the permeabilities as large as numbers can be."""
        k = super().draw(generator)["k"]
        return {"k": k * (1.7e308 / k.max()) if generator.random() < 0.25 else k}


class Wrong(Failing, axes=("x",)):
    """A mistake that no other instance mends."""

    def draw(self, generator):
        """Forget a parameter."""
        return {name: values for name, values in super().draw(generator).items() if name != "k"}
