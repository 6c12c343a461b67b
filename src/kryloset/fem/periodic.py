# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Meshes that close on themselves, for periodic boundaries.

The vertices on two opposite sides are identified, so that cells on both sides are neighbours.
Spaces on such a mesh hold periodic functions; forms, conditions and assembly need not know of it.
Each cell has corners of its own in space. So a cell at the end of the domain reaches that end,
although its vertices there are those at the beginning.
"""

from collections.abc import Mapping

import basix.ufl
import dolfinx.cpp
import numpy as np
import scipy
import ufl
from dolfinx.common import IndexMap
from dolfinx.fem import coordinate_element
from dolfinx.mesh import (
    GhostMode,
    Mesh,
    MeshTags,
    create_cell_partitioner,
    create_geometry,
    create_mesh,
    exterior_facet_indices,
    meshtags,
)
from numpy.typing import NDArray

from kryloset.fem.family_mesh import EQUAL_WITHIN, Ends, FamilyMesh, near_end
from kryloset.fem.tags import entities_of_cells, locate_tags
from kryloset.problems.base import Array


def close_mesh(domain: FamilyMesh, axes: Mapping[int, str]) -> FamilyMesh:
    """Return a mesh that closes on itself along some axes, with its tags. Collective.

    Tags of facets on the sides that are joined are left out, since these facets are no boundary.

    Args:
        domain: A mesh of straight simplices whose vertices on opposite sides face each other.
        axes: Names of the periodic axes by their numbers.

    Raises:
        ValueError: Vertices do not face each other, or a cell is half as wide as the domain.
    """
    comm, topology, geometry = domain.comm, domain.topology, domain.geometry
    dimension, nodes = geometry.dim, geometry.index_map()
    held = geometry.x[: nodes.size_local, :dimension]
    # In the order of global numbers: those of process 0, then those of process 1, ...
    points = np.concatenate(comm.allgather(held))
    numbers, ends = np.arange(len(points)), {}
    for axis, name in axes.items():
        ends[axis] = (float(points[:, axis].min()), float(points[:, axis].max()))
        numbers = _identify(points, axis, ends[axis], name)[numbers]
    cells = geometry.dofmaps[0][: topology.index_map(dimension).size_local]
    for axis, (low, high) in ends.items():
        widths = np.ptp(geometry.x[cells][..., axis], axis=1)
        if comm.allreduce(int((widths > (0.5 - EQUAL_WITHIN) * (high - low)).sum())):
            raise ValueError(
                f"a cell is half as wide as the domain along {axes[axis]}, which is periodic: take "
                "at least three cells there"
            )
    corners = np.asarray(nodes.local_to_global(cells.ravel())).reshape(cells.shape)
    element = basix.ufl.element("Lagrange", domain.basix_cell(), 1, shape=(dimension,))
    partitioner = create_cell_partitioner(GhostMode.shared_facet, 2) if comm.size > 1 else None
    joined = create_mesh(comm, numbers[corners], element, held, partitioner)
    closed = _unfold(joined, element, ends)
    return FamilyMesh(
        closed,
        _transfer(domain, domain.cell_tags, closed),
        _transfer(domain, domain.facet_tags, closed),
        domain.groups,
        ends,
    )


def _identify(points: Array, axis: int, ends: tuple[float, float], name: str) -> NDArray[np.int64]:
    """Return for each point its own number or, at the end of an axis, that of the one facing it."""
    along, across = points[:, axis], np.delete(points, axis, axis=1)
    first, last = (np.flatnonzero(near_end(along, end, ends)) for end in (0, 1))
    facing, distances = np.zeros(len(last), np.int64), np.zeros(len(last))
    if across.shape[1]:
        distances, facing = scipy.spatial.cKDTree(across[first]).query(across[last])
    lonely = np.flatnonzero(distances > EQUAL_WITHIN * np.ptp(points, axis=0).max())
    if len(lonely) or len(first) != len(last):
        what = f"{len(first)} vertices at its beginning and {len(last)} at its end"
        if len(lonely):
            where = ", ".join(f"{value:g}" for value in points[last[lonely[0]]])
            what += f", of which ({where}) faces none"
        raise ValueError(
            f"the sides of the mesh across {name}, which is periodic, do not match: there are "
            f"{what}. Mesh both sides alike, as by `gmsh.model.mesh.setPeriodic`"
        )
    numbers = np.arange(len(points))
    numbers[last] = first[facing]
    return numbers


def _unfold(joined: Mesh, element: basix.ufl._ElementBase, ends: Ends) -> Mesh:
    """Return a mesh with identified vertices in which cells have their own corners in space."""
    topology, dimension = joined.topology, joined.geometry.dim
    corners = joined.geometry.x[joined.geometry.dofmaps[0]][..., :dimension]
    for axis, (low, high) in ends.items():
        along = corners[..., axis]
        reaching = np.ptp(along, axis=1) > 0.5 * (high - low)
        along[reaching[:, None] & near_end(along, 0, (low, high))] = high
    cells, each = topology.index_map(dimension), corners.shape[1]
    places = np.arange(corners.size // dimension, dtype=np.int32).reshape(-1, each)
    ghosts = (cells.ghosts[:, None] * each + np.arange(each)).ravel()
    index_map = IndexMap(
        joined.comm, each * cells.size_local, ghosts, np.repeat(cells.owners, each), 0
    )
    geometry = create_geometry(
        index_map,
        places,
        coordinate_element(element.basix_element),
        corners.reshape(-1, dimension),
        np.asarray(index_map.local_to_global(places.ravel())),
    )
    mesh = dolfinx.cpp.mesh.Mesh_float64(joined.comm, topology._cpp_object, geometry._cpp_object)
    return Mesh(mesh, ufl.Mesh(element))


def _transfer(domain: Mesh, tags: MeshTags | None, closed: Mesh) -> MeshTags | None:
    """Return the tags of the same cells or facets of a closed mesh. Collective."""
    if tags is None:
        return None
    # A cell has the same corners, in the same order, in both meshes.
    chosen, cells, places = locate_tags(domain, tags)
    entities = entities_of_cells(closed, tags.dim)
    sides = np.zeros(len(tags.indices), np.bool_)
    if tags.dim < domain.topology.dim:
        sides = np.isin(tags.indices, exterior_facet_indices(domain.topology))
    given = domain.comm.allgather((cells, places, tags.values[chosen], sides[chosen]))
    cells, places, values, sides = map(np.concatenate, zip(*given, strict=True))
    topology = closed.topology
    table = np.full((topology.index_map(topology.dim).size_global, entities.shape[1]), -1)
    table[cells, places] = np.arange(len(values))
    # Of the processes that hold a facet, its owner alone knows that it is on the boundary.
    on_side = np.zeros(table.shape, np.bool_)
    on_side[cells[sides], places[sides]] = True
    found = table[topology.original_cell_index]
    numbers, first = np.unique(entities[found >= 0], return_index=True)
    which = found[found >= 0][first]
    joined = on_side[topology.original_cell_index][found >= 0][first]
    if tags.dim < topology.dim:
        joined &= ~np.isin(numbers, exterior_facet_indices(topology))
    return meshtags(closed, tags.dim, numbers[~joined], values[which[~joined]])
