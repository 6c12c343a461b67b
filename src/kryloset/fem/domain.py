# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes the mesh of a family and checks that it fits the grid."""

from mpi4py import MPI

from kryloset.errors import FamilyError
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.tags import read_mesh
from kryloset.problems.checks.coverage import POINT_ROUNDING
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import FiniteElementFamily


def make_domain(family: FiniteElementFamily, comm: MPI.Comm) -> FamilyMesh:
    """Return the mesh that a family makes, with its tags, closed along its periodic axes.

    Raises:
        FamilyError: As `make_open_domain` and `close_domain`.
    """
    return close_domain(family, make_open_domain(family, comm))


def make_open_domain(family: FiniteElementFamily, comm: MPI.Comm) -> FamilyMesh:
    """Return the mesh that a family makes, with its tags.

    Raises:
        FamilyError: It is not a mesh, has a different dimension from the grid, its cells are not
            straight simplices, or its tags are of another mesh.
    """
    with blamed(family, "make_mesh"):
        found = family.make_mesh(comm)
    where = f"{describe_class(family)}, make_mesh"
    try:
        domain = read_mesh(found)
    except ValueError as error:
        raise FamilyError(f"{where} returned {error}") from None
    if domain is None:
        returned = "nothing" if found is None else f"a {type(found).__name__}"
        raise FamilyError(
            f"{where} returned {returned}: return a dolfinx.mesh.Mesh, or a tuple of the mesh, its "
            "tags of cells and its tags of facets"
        )
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


def close_domain(family: FiniteElementFamily, domain: FamilyMesh) -> FamilyMesh:
    """Return the mesh of a family, closed along its periodic axes.

    Raises:
        FamilyError: Its sides across a periodic axis do not match, or have another distance than
            the grid has.
    """
    where = f"{describe_class(family)}, make_mesh"
    axes = enumerate(family.coordinates)
    periodic = {number: axis for number, axis in axes if family.is_periodic(axis)}
    if not periodic:
        return domain
    # It needs SciPy, which takes long to load.
    from kryloset.fem.periodic import close_mesh

    try:
        closed = close_mesh(domain, periodic)
    except ValueError as error:
        raise FamilyError(f"{where}: {error}") from None
    for number, axis in periodic.items():
        low, high = closed.ends[number]
        period = family.end_of(axis) - family.coordinates[axis][0]
        if abs(high - low - period) > POINT_ROUNDING * period:
            raise FamilyError(
                f"{where} returned a mesh from {low:g} to {high:g} along {axis}, which is periodic "
                f"with the period {period:g} of the grid: `coordinates` has equidistant points "
                "there, and leaves out the end, which is the first point again"
            )
    return closed
