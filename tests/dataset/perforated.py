# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""User families with known solutions, on a square with a square hole."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import numpy as np
import ufl
from dolfinx import fem, mesh

from kryloset.config import Section
from kryloset.problems import (
    Dirichlet,
    EvolutionFamily,
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
    degrees_of_freedom,
)

U = Variable("u", "temperature", "K")
FLOW = Variable("w", "displacement", "m", rank=1)

#: What is drawn at points in the hole.
NOTHING = 1e6


class Steps(Section):
    """Time steps."""

    steps: int = 3
    final_time: float = 0.5


def in_hole(x, y):
    """Return whether points are in the open hole (1/4, 3/4)^2."""
    return np.maximum(abs(x - 0.5), abs(y - 0.5)) < 0.25


class Perforated(SteadyFamily):
    """-a div grad u = 0, u = g on the boundary, g affine: then u = g."""

    summary = "Heat in a square with a hole"
    equation = "-a div grad u = 0 in (0, 1)^2 without [1/4, 3/4]^2, u = g on the boundary"
    parameters = (
        Variable("g", "temperature on the boundary", "K"),
        Variable("a", "conductivity and mean of g", "1", dimensions=()),
    )
    fields = (U,)
    unknowns = (degrees_of_freedom(U),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def make_mesh(self, comm):
        """Return the mesh of the square without the cells in the hole."""
        square = mesh.create_unit_square(comm, 8, 8)
        cells = np.arange(square.topology.index_map(2).size_local, dtype=np.int32)
        middle = mesh.compute_midpoints(square, 2, cells)
        return mesh.create_submesh(square, 2, cells[~in_hole(middle[:, 0], middle[:, 1])])[0]

    def draw(self, generator):
        """Draw an affine g with another value in the hole."""
        a, b, c = generator.uniform(1, 2, 3)
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        g = np.where(in_hole(x, y), NOTHING, a + b * (x - 0.5) + c * (y - 0.5))
        return {"g": g, "a": np.asarray(a)}

    def weak_form(self, space, parameters):
        """Return a times the Laplacian."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        nothing = fem.Constant(space.mesh, np.zeros(u.ufl_shape))
        return WeakForm(
            parameters["a"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx,
            ufl.inner(nothing, v) * ufl.dx,
            (Dirichlet(parameters["g"]),),
        )


class Clustered(Perforated):
    """On another grid: not equidistant, with fewer points along y, larger than the mesh."""

    @property
    def coordinates(self):
        """Return x denser to the left, and y with a margin."""
        x = np.linspace(0, 1, self.mesh.points) ** 2
        return {"x": x, "y": np.linspace(-0.25, 1.25, 7)}

    def draw(self, generator):
        """Draw an affine g everywhere, since the nodes are not points of this grid."""
        a, b, c = generator.uniform(1, 2, 3)
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"g": a + b * (x - 0.5) + c * (y - 0.5), "a": np.asarray(a)}


class Vectors(Perforated):
    """The same for a vector, whose two components are g."""

    parameters = (
        Variable("g", "displacement of the boundary", "m", rank=1),
        *Perforated.parameters[1:],
    )
    fields = (FLOW,)
    unknowns = (degrees_of_freedom(FLOW),)

    def draw(self, generator):
        """Draw two components that are the same."""
        drawn = super().draw(generator)
        return {**drawn, "g": np.stack([drawn["g"]] * 2, axis=-1)}


class Named(Perforated):
    """A parameter has the name of the mask."""

    parameters = (*Perforated.parameters, Variable("inside", "domain", fixed=True))


class Cooling(EvolutionFamily):
    """u_t = a div grad u from an affine g, which stays as it is."""

    summary = "Heat in a square with a hole, in time"
    equation = "u_t = a div grad u in (0, 1)^2 without [1/4, 3/4]^2, u = g on the boundary"
    Settings = Steps
    parameters = Perforated.parameters
    fields = Perforated.fields
    unknowns = Perforated.unknowns
    operator = Perforated.operator
    make_mesh = Perforated.make_mesh

    def draw(self, generator):
        """Draw an affine g, in the hole, too."""
        drawn = Perforated.draw(self, generator)
        return {**drawn, "g": np.where(drawn["g"] == NOTHING, 0.0, drawn["g"])}

    def initial_state(self, instance):
        """Return g on the grid, which has other points than the mesh has nodes."""
        return {"u": instance["g"]}

    def weak_form(self, space, parameters, step):
        """Return a step of the implicit Euler method."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        flux = parameters["a"] * ufl.inner(ufl.grad(u), ufl.grad(v))
        return WeakForm(
            (u * v + step.size * flux) * ufl.dx,
            step.previous[0] * v * ufl.dx,
            (Dirichlet(parameters["g"]),),
        )


class Millimetres(Perforated):
    """The mesh has another unit of length than the grid."""

    def make_mesh(self, comm):
        """Return a thousand times the mesh."""
        domain = super().make_mesh(comm)
        domain.geometry.x[:] *= 1000
        return domain


class Beside(Perforated):
    """The mesh is beside the grid."""

    low, high = 0.3, 0.7

    @property
    def coordinates(self):
        """Return a grid in the hole."""
        return {axis: np.linspace(self.low, self.high, self.mesh.points) for axis in "xy"}

    parameters = Perforated.parameters[1:]

    def draw(self, generator):
        """Draw a number alone."""
        return {"a": generator.uniform(1, 2)}

    def weak_form(self, space, parameters):
        """Return a Laplacian and a source."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, parameters["a"] * v * ufl.dx)


class Metres(Beside):
    """The grid has another unit of length than the mesh: one point of it is in the mesh."""

    low, high = 0.0, 1000.0


class Window(Beside):
    """The grid is a part of the domain."""

    low, high = 0.0, 0.5
