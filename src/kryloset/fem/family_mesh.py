# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mesh of a family with what a mesh of DOLFINx lacks: tags, names and periodic axes."""

from collections.abc import Iterator, Mapping

import numpy as np
from dolfinx.mesh import Mesh, MeshTags
from numpy.typing import NDArray

from kryloset.problems.base import Array

EQUAL_WITHIN = 1e-9
"""Fraction of the domain's extent by which equal coordinates may differ through rounding."""

type Ends = Mapping[int, tuple[float, float]]
"""By the number of each periodic axis, where the domain begins and ends."""


class FamilyMesh(Mesh):  # type: ignore[misc]  # (DOLFINx has no types)
    """A mesh with tags, names and periodic axes. Forms find it as `space.mesh`.

    Attributes:
        cell_tags: Tags of cells, for `ufl.dx(subdomain_data=...)`; None if there are none.
        facet_tags: Tags of facets, for `ufl.ds(subdomain_data=...)`; None if there are none.
        groups: Names of tags: by name the dimension of the tagged entities, and the tag.
        ends: The periodic axes.
    """

    def __init__(
        self,
        domain: Mesh,
        cell_tags: MeshTags | None = None,
        facet_tags: MeshTags | None = None,
        groups: Mapping[str, tuple[int, int]] | None = None,
        ends: Ends | None = None,
    ) -> None:
        """Add to a mesh what the attributes describe."""
        super().__init__(domain._cpp_object, domain.ufl_domain())
        self.cell_tags, self.facet_tags = cell_tags, facet_tags
        self.groups: Mapping[str, tuple[int, int]] = groups or {}
        self.ends: Ends = ends or {}

    def tag(self, name: str) -> int:
        """Return the tag of a named group of cells or facets.

        Raises:
            KeyError: There is no group of that name.
        """
        if name not in self.groups:
            known = ", ".join(self.groups)
            raise KeyError(f"the mesh has no group {name!r}: it has {known or 'no names'}")
        return self.groups[name][1]

    def tagged_facets(self, tag: str | int) -> NDArray[np.int32]:
        """Return the facets here with a tag, or with the tag of a name; none if there are no tags.

        Raises:
            KeyError: There is no group of that name.
        """
        number = self.tag(tag) if isinstance(tag, str) else tag
        none = np.zeros(0, np.int32)
        return none if self.facet_tags is None else np.asarray(self.facet_tags.find(number))

    def tagged_parts(self) -> Iterator[tuple[str, MeshTags, int]]:
        """Yield each tag, after the name of its part, such as `facets_inlet`. Collective."""
        for what, tags in (("cells", self.cell_tags), ("facets", self.facet_tags)):
            if tags is None:
                continue
            names = {tag: name for name, (of, tag) in self.groups.items() if of == tags.dim}
            found = np.concatenate(self.comm.allgather(np.unique(tags.values)))
            for tag in np.unique(found).tolist():
                yield f"{what}_{names.get(tag, tag)}", tags, tag


def ends_of(domain: Mesh) -> Ends:
    """Return the periodic axes of a mesh."""
    return domain.ends if isinstance(domain, FamilyMesh) else {}


def wrap(domain: Mesh, points: Array) -> Array:
    """Return points of a mesh with those at the end of a periodic axis moved to its beginning.

    Args:
        domain: The mesh.
        points: (points, dimension or more).
    """
    wrapped = points.copy()
    for axis, ends in ends_of(domain).items():
        wrapped[near_end(points[:, axis], 1, ends), axis] = ends[0]
    return wrapped


def near_end(values: Array, end: int, ends: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which coordinates are those of the first or last end (0 or 1), but for rounding."""
    return np.asarray(np.abs(values - ends[end]) <= EQUAL_WITHIN * (ends[1] - ends[0]))
