# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mesh that a family makes, which must be one on its grid."""

from mpi4py import MPI

from dolfinx.mesh import Mesh

from kryloset.errors import FamilyError
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import FiniteElementFamily


def make_domain(family: FiniteElementFamily, comm: MPI.Comm) -> Mesh:
    """Return the mesh that a family makes.

    Raises:
        FamilyError: It is none, of another dimension than the grid, or not of straight simplices.
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
            f"{domain.geometry.dim}, and the grid has the axes {', '.join(axes)}; what reads the "
            f"mesh may have to be told, as by `gdim={len(axes)}` of `model_to_mesh`"
        )
    corners = domain.geometry.dofmaps[0].shape[1]
    if corners != len(axes) + 1:
        raise FamilyError(
            f"{where} returned a mesh with cells of {corners} points: return one of straight "
            "simplices, which are intervals, triangles or tetrahedra of degree 1"
        )
    if MPI.Comm.Compare(domain.comm, comm) not in (MPI.IDENT, MPI.CONGRUENT):
        raise FamilyError(f"{where} returned a mesh on other processes: make it on `comm`")
    return domain
