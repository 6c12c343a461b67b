# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Families without a PDE with everything that a file can hold, in one to three dimensions."""

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from kryloset.problems import Discretisation, Family, Variable, degrees_of_freedom
from kryloset.problems.base import AXES

U = Variable("u", "concentration", "kg m-3")


class Various(Family):
    """Scalars, vectors, profiles, numbers, a mask and a polygon; u and its flux.

    u = (1 + t) sum(weights) k soil, flux = u (wind + drift), and the degrees of freedom
    of u are its values on the grid in reverse.
    """

    summary = "Everything"
    equation = "u = (1 + t) sum(weights) k soil, flux = u (wind + drift)"
    dimensions = (1, 2, 3)
    parameters = (
        Variable("k", "coefficient", transform="log"),
        Variable("wind", "wind", "m s-1", rank=1),
        Variable("drift", "wind that is the same everywhere", "m s-1", (), rank=1),
        Variable("soil", "1 in soil, 0 in rock", fixed=True),
        Variable("corners", "corners of a polygon", "m", ("corner",), rank=1),
        Variable("weights", "weights of the corners", dimensions=("corner",)),
    )
    fields = (U, Variable("flux", "flux", "kg m-2 s-1", rank=1))
    unknowns = (degrees_of_freedom(U),)

    @property
    def coordinates(self):
        """Another length along each axis, with the same number of points."""
        points = self.mesh.points
        return {a: np.linspace(0, 1 + i, points) for i, a in enumerate(AXES[: self.dimension])}

    def draw(self, generator):
        """Draw numbers between 1 and 2, and a mask without randomness."""
        shape, n = (self.mesh.points,) * self.dimension, self.dimension
        soil = np.ones(shape)
        soil[0] = 0
        return {
            "k": 1 + generator.random(shape),
            "wind": 1 + generator.random((*shape, n)),
            "drift": 1 + generator.random(n),
            "soil": soil,
            "corners": 1 + generator.random((4, n)),
            "weights": 1 + generator.random(4),
        }

    def discretise(self, comm):
        """Return the discretisation, which multiplies."""
        return Multiplication(self)


class Multiplication(Discretisation):
    """The solution in closed form, and the distance of a stored one to it."""

    def __init__(self, family):
        """Keep the family."""
        self.family = family

    def states(self, values):
        """Return (1 + t) values for all times, or the values themselves."""
        if self.family.times is None:
            return values
        return np.stack([(1 + time) * values for time in self.family.times])

    def solve(self, instances, solve):
        """Multiply."""
        return [self.multiply(instance) for instance in instances]

    def multiply(self, instance):
        """Return the solution of one instance."""
        u = instance["weights"].sum() * instance["k"] * instance["soil"]
        flux = u[..., None] * (instance["wind"] + instance["drift"])
        found = {"u": u, "flux": flux, "u_dofs": u.ravel()[::-1]}
        return {name: self.states(values) for name, values in found.items()}

    def residual(self, instance, solution):
        """Return the largest relative distance of a field or of the unknowns."""
        expected = self.multiply(instance)
        assert solution.keys() == expected.keys()
        assert all(solution[name].shape == a.shape for name, a in expected.items())
        return max(
            float(np.linalg.norm(solution[name] - a) / np.linalg.norm(a))
            for name, a in expected.items()
        )

    def resample(self, points, instance, solution):
        """Interpolate linearly."""
        given = {name: instance[name] for name in ("k", "wind")}
        stored = {name: solution[name] for name in ("u", "flux")}
        axes = tuple(self.family.coordinates.values())
        lines = [np.linspace(axis[0], axis[-1], points) for axis in axes]
        nodes = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)

        def evaluate(values):
            return RegularGridInterpolator(axes, values)(nodes)

        if self.family.times is None:
            return {name: evaluate(values) for name, values in (given | stored).items()}
        states = {name: np.stack([*map(evaluate, a)]) for name, a in stored.items()}
        return {name: evaluate(values) for name, values in given.items()} | states

    def meshes(self):
        """Return the points of the grid, and a cell for each point and the next."""
        axes = self.family.coordinates.values()
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        nodes = np.arange(points.size // len(axes))
        cells = np.stack([nodes[:-1], nodes[1:]], axis=1).astype(np.int32)
        return {"u_points": points.reshape(-1, len(axes)), "u_cells": cells}


class Moving(Various):
    """The same with times."""

    @property
    def times(self):
        """Three times, not evenly spaced."""
        return np.array([0.0, 0.5, 2.0])


class Meshed(Various):
    """The same with a mesh for each instance, at whose nodes u is stored."""

    unknowns = (
        degrees_of_freedom(U, ragged=True),
        Variable("u_points", "nodes of u", "m", ("u_dof",), rank=1, ragged=True),
        Variable("u_cells", "nodes of each cell", "1", ("u_cell", "u_node"), ragged=True),
    )

    def discretise(self, comm):
        """Return the discretisation, which multiplies on meshes."""
        return MultiplicationOnMeshes(self)


class MultiplicationOnMeshes(Multiplication):
    """Three to nine nodes for each instance, chosen by the digits of a parameter."""

    def multiply(self, instance):
        """Multiply, and keep the values at some nodes."""
        found = super().multiply(instance)
        nodes = 3 + int(1000 * instance["k"].flat[0]) % 7
        points = super().meshes()["u_points"][::-1][:nodes]
        cells = np.arange(nodes - 2)[:, None] + np.arange(3)
        return found | {"u_dofs": found["u_dofs"][:nodes], "u_points": points, "u_cells": cells}

    def meshes(self):
        """Return nothing: no mesh is shared."""
        return {}


class Unfixed(Various):
    """A parameter that is declared fixed but drawn anew for each instance."""

    def draw(self, generator):
        """Draw another mask."""
        drawn = super().draw(generator)
        return drawn | {"soil": drawn["soil"] * generator.random()}


class OwnGridOnly(Various):
    """A discretisation that cannot be evaluated on other grids."""

    def discretise(self, comm):
        """Leave `resample` as it is in the base class."""
        discretisation = super().discretise(comm)
        discretisation.resample = lambda *arguments: Discretisation.resample(
            discretisation, *arguments
        )
        return discretisation


class RaggedParameter(Various):
    """A parameter whose length differs from instance to instance."""

    parameters = (*Various.parameters, Variable("p", "p", "1", ("row",), ragged=True))


class RaggedInTime(Moving):
    """A mesh for each instance, and times."""

    unknowns = Meshed.unknowns


class RaggedOnTheGrid(Various):
    """A ragged variable with the axes of the grid."""

    unknowns = (Variable("v", "v", "1", ("x",), ragged=True),)


class OneTime(Various):
    """Only one time."""

    @property
    def times(self):
        """The initial one alone."""
        return np.zeros(1)


class Polygons(Various):
    """Only parameters with axes of their own."""

    parameters = Various.parameters[4:]

    def draw(self, generator):
        """Draw no more than the parameters."""
        drawn = super().draw(generator)
        return {variable.name: drawn[variable.name] for variable in self.parameters}

    def discretise(self, comm):
        """Return the discretisation."""
        whole, multiplication = Various(self.settings, self.mesh), super().discretise(comm)
        rest = whole.draw(np.random.default_rng(0))
        solve = multiplication.solve
        multiplication.solve = lambda group, by: solve([rest | dict(one) for one in group], by)
        return multiplication
