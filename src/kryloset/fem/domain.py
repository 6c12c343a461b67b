# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes the mesh of a family and checks that it fits the grid."""

from mpi4py import MPI

from dolfinx.mesh import Mesh

from kryloset.errors import FamilyError
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import FiniteElementFamily


def make_domain(family: FiniteElementFamily, comm: MPI.Comm) -> Mesh:
    """Return the mesh that a family makes.

    Raises:
        FamilyError: It is not a mesh, has a different dimension from the grid, or its cells are not
            straight simplices.
    """
    with blamed(family, "make_mesh"):
        domain = family.make_mesh(comm)
    where = f"{describe_class(family)}, make_mesh"
    if not isinstance(domain, Mesh):
        returned = "nothing" if domain is None else f"a {type(domain).__name__}"
        raise FamilyError(f"{where} returned {returned}: return a dolfinx.mesh.Mesh")
    axes = tuple(family.coordinates)
    if not domain.geometry.dim == domain.topology.dim == len(axes):
        raise FamilyError(
            f"{where} returned a mesh of dimension {domain.topology.dim} in space of dimension "
            f"{domain.geometry.dim}, but the grid has the axes {', '.join(axes)}. A reader of "
            f"meshes may need to be told, as by `gdim={len(axes)}` of `model_to_mesh`"
        )
    corners = domain.geometry.dofmaps[0].shape[1]
    if corners != len(axes) + 1:
        raise FamilyError(
            f"{where} returned a mesh with cells of {corners} points: return a mesh of straight "
            "simplices, that is, intervals, triangles or tetrahedra of degree 1"
        )
    if MPI.Comm.Compare(domain.comm, comm) not in (MPI.IDENT, MPI.CONGRUENT):
        raise FamilyError(f"{where} returned a mesh on other processes: make it on `comm`")
    return domain
