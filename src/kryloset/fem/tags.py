# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tags of cells and facets: read from what a family returns, written for readers of the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from dolfinx.mesh import Mesh, MeshTags
from numpy.typing import NDArray

from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.unknowns import order_cells

type Numbers = NDArray[np.int64]


def read_mesh(returned: Any) -> FamilyMesh | None:
    """Return what a family's `make_mesh` returned as its mesh; None if it is none.

    Args:
        returned: A mesh; the mesh, its tags of cells and its tags of facets; or what
            `dolfinx.io.gmsh` returns, with the names of physical groups.

    Raises:
        ValueError: The tags are not those of cells and facets of the mesh.
    """
    if isinstance(returned, FamilyMesh):
        return returned
    parts = returned if isinstance(returned, tuple) else (returned,)
    domain, *tags = (*parts[:3], None, None)[:3]
    if not isinstance(domain, Mesh):
        return None
    dimension = domain.topology.dim
    for what, one, wanted in zip(("cell", "facet"), tags, (dimension, dimension - 1), strict=True):
        if one is None:
            continue
        if not isinstance(one, MeshTags):
            raise ValueError(
                f"{what} tags that are a {type(one).__name__}: use dolfinx.mesh.meshtags, or None"
            )
        if one.dim != wanted or one.topology is not domain.topology._cpp_object:
            raise ValueError(
                f"{what} tags of entities of dimension {one.dim}, or of another mesh: make them by "
                f"dolfinx.mesh.meshtags(mesh, {wanted}, ...)"
            )
    named: Mapping[str, Any] = getattr(returned, "physical_groups", {})
    groups = {name: (int(of), int(tag)) for name, (of, tag) in named.items() if name}
    if unfit := [name for name in groups if {"/", "\0"} & set(name)]:
        raise ValueError(f"a group named {unfit[0]!r}, which no file can hold: rename it")
    if numbers := [name for name in groups if name.isdigit()]:
        raise ValueError(
            f"a group named {numbers[0]!r}, as in a file what has that tag and no name: rename it"
        )
    cell_tags, facet_tags = tags
    return FamilyMesh(domain, cell_tags, facet_tags, groups)


def write_tags(domain: FamilyMesh) -> dict[str, Numbers]:
    """Return the tagged cells and facets, by names such as `facets_inlet`, on rank 0. Collective.

    Returns:
        `cells_<name>`, (n,): numbers of cells in their order by midpoints, ascending.
        `facets_<name>`, (n, 2): of each facet the number of a cell, the first of two, and of the
            corner of that cell that is not on the facet; ascending.
    """
    parts = list(domain.tagged_parts())
    if not parts:
        return {}
    found, ranks = {}, np.argsort(order_cells(domain))
    for name, tags, tag in parts:
        chosen, cells, places = locate_tags(domain, tags)
        entities = domain.topology.index_map(tags.dim).local_to_global(tags.indices[chosen])
        if tags.dim == 0:
            # A facet of an interval has the number of its vertex, not of the opposite one.
            places = 1 - places
        rows = np.stack([entities, ranks[cells], places], axis=1)[tags.values[chosen] == tag]
        rows = np.unique(np.concatenate(domain.comm.allgather(rows)), axis=0)
        _, first = np.unique(rows[:, 0], return_index=True)
        whole = np.unique(rows[first, 1:], axis=0)
        found[name] = whole[:, 0] if tags.dim == domain.topology.dim else whole
    return found if domain.comm.rank == 0 else {}


def locate_tags(domain: Mesh, tags: MeshTags) -> tuple[Numbers, Numbers, Numbers]:
    """Return where tagged cells or facets are in the cells here, ghosts included.

    Returns:
        Of each place the number of the entity among those of `tags`, the global number of the
        cell, and the entity's own number in it. A facet between two cells has two places.
    """
    entities = entities_of_cells(domain, tags.dim)
    which = np.full(entities.max(initial=-1) + 1, -1)
    which[tags.indices] = np.arange(len(tags.indices))
    cells, places = np.nonzero(which[entities] >= 0)
    numbers = domain.topology.index_map(domain.topology.dim).local_to_global(cells.astype(np.int32))
    return which[entities[cells, places]], np.asarray(numbers), places


def entities_of_cells(domain: Mesh, dimension: int) -> NDArray[np.int32]:
    """Return the entities of a dimension of each cell here, (cells, entities of a cell)."""
    topology = domain.topology
    topology.create_connectivity(topology.dim, dimension)
    topology.create_connectivity(dimension, topology.dim)
    cells = topology.index_map(topology.dim)
    count = cells.size_local + cells.num_ghosts
    if dimension == topology.dim:
        return np.arange(count, dtype=np.int32)[:, None]
    return np.asarray(topology.connectivity(topology.dim, dimension).array).reshape(count, -1)
