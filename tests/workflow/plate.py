# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A user's family on a domain meshed by Gmsh: a plate with a round hole."""

import gmsh
import ufl
from dolfinx.io import gmsh as reader

from kryloset.problems import (
    Dirichlet,
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
    degrees_of_freedom,
)

U = Variable("u", "temperature", "K")
RADIUS = 0.3


class Plate(SteadyFamily):
    """-div grad u = 0 with u = a on the left, and elsewhere the flux of u = a + b x."""

    summary = "Heat in a plate with a round hole"
    equation = "-div grad u = 0 in (0, 1)^2 without a disk, u = a + b x"
    parameters = tuple(Variable(name, f"coefficient {name}", dimensions=()) for name in "ab")
    fields = (U,)
    unknowns = (degrees_of_freedom(U),)
    operator = OperatorTraits(symmetric=True, definite=True, constant=True)

    def draw(self, generator):
        """Draw two numbers."""
        return {name: generator.uniform(1, 2) for name in "ab"}

    def make_mesh(self, comm):
        """Cut the disk out of the square with Gmsh."""
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        if comm.rank == 0:
            square = gmsh.model.occ.addRectangle(0, 0, 0, 1, 1)
            disk = gmsh.model.occ.addDisk(0.5, 0.5, 0, RADIUS, RADIUS)
            gmsh.model.occ.cut([(2, square)], [(2, disk)])
            gmsh.model.occ.synchronize()
            gmsh.model.addPhysicalGroup(2, [1])
            gmsh.option.setNumber("Mesh.MeshSizeMax", 0.1)
            gmsh.model.mesh.generate(2)
        domain = reader.model_to_mesh(gmsh.model, comm, 0, gdim=2).mesh
        gmsh.finalize()
        return domain

    def weak_form(self, space, parameters):
        """Return the Laplacian and the flux of a + b x."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(
            ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx,
            parameters["b"] * v.dx(0) * ufl.dx,
            (Dirichlet(parameters["a"], lambda x: x[0] < 1e-9),),
        )
