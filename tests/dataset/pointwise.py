# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family without a PDE: (1 + nu) u = k at every point of a grid of any dimension."""

import numpy as np

from kryloset.problems import BoundaryCondition, Discretisation, Family, Variable


class Pointwise(Family):
    """Parameters of every kind: a field, a profile along one axis, and a number."""

    summary = "Pointwise division"
    equation = "(1 + nu) u = k profile"

    def __init_subclass__(cls, axes: tuple[str, ...]) -> None:
        """Name the axes."""
        cls.axes = axes
        cls.parameters = (
            Variable("k", "permeability", "m2", axes, transform="log"),
            Variable("profile", "profile along the last axis", dimensions=axes[-1:]),
            Variable("nu", "reaction rate", "s-1", ()),
        )
        cls.fields = (Variable("u", "head", "m", axes),)
        cls.boundary_conditions = (
            BoundaryCondition("x", "wall", ("u",), 0.5, "u = 0.5"),
            *(BoundaryCondition(axis, "open", ("u",), 0.0, "free") for axis in axes[1:]),
        )

    @property
    def coordinates(self):
        """A grid with one more point along each axis than along the one before."""
        points = self.mesh.points
        return {a: np.linspace(0.0, 1.0, points + i) for i, a in enumerate(self.axes)}

    def draw(self, generator):
        """Draw numbers between 1 and 2."""
        shape = tuple(len(axis) for axis in self.coordinates.values())
        return {
            "k": 1 + generator.random(shape),
            "profile": 1 + generator.random(shape[-1]),
            "nu": np.asarray(generator.random()),
        }

    def discretise(self, comm):
        """Return itself, since nothing has to be built."""
        return PointwiseDivision()


class Pointwise1(Pointwise, axes=("x",)):
    """On a line."""


class Pointwise2(Pointwise, axes=("x", "y")):
    """On a rectangle."""


class Pointwise3(Pointwise, axes=("x", "y", "z")):
    """On a box."""


class PointwiseDivision(Discretisation):
    """The division and its residual."""

    @staticmethod
    def right_hand_side(instance):
        """Return k profile."""
        return instance["k"] * instance["profile"]

    def solve(self, instances, solve):
        """Divide."""
        return [{"u": self.right_hand_side(one) / (1 + one["nu"])} for one in instances]

    def residual(self, instance, fields):
        """Return the relative residual."""
        rhs = self.right_hand_side(instance)
        return float(np.linalg.norm(rhs - (1 + instance["nu"]) * fields["u"]) / np.linalg.norm(rhs))
