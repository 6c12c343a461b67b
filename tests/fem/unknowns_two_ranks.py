# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Number the unknowns on any number of ranks and save the results."""

import sys
from pathlib import Path

from mpi4py import MPI

import basix.ufl
import numpy as np
from dolfinx import fem, mesh

from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.periodic import close_mesh
from kryloset.fem.tags import write_tags
from kryloset.fem.unknowns import Unknowns


def meshes(comm: MPI.Comm) -> dict[str, mesh.Mesh]:
    """Return meshes of each dimension; one is no lattice, one has fewer cells than ranks.

    Three are closed.
    """
    square = mesh.create_unit_square(comm, 5, 5)
    x, y, _ = square.geometry.x.T
    square.geometry.x[:, 0], square.geometry.x[:, 1] = x + 0.2 * x * y, y + 0.3 * np.sin(3 * x)
    return {
        "cell": mesh.create_unit_interval(comm, 1),
        "interval": mesh.create_unit_interval(comm, 7),
        "lattice": mesh.create_unit_square(comm, 4, 4),
        "square": square,
        "cube": mesh.create_unit_cube(comm, 2, 3, 2),
        "ring": close_mesh(FamilyMesh(mesh.create_unit_interval(comm, 5)), {0: "x"}),
        "tube": close_mesh(tag(mesh.create_unit_square(comm, 4, 3)), {0: "x"}),
        "torus": close_mesh(tag(mesh.create_unit_cube(comm, 3, 4, 3)), {0: "x", 1: "y", 2: "z"}),
    }


def tag(domain: mesh.Mesh) -> FamilyMesh:
    """Return a mesh with the tag 1 on its cells and facets below 1/2."""
    tags = []
    for dimension in (domain.topology.dim, domain.topology.dim - 1):
        found = mesh.locate_entities(domain, dimension, lambda x: x[1] < 0.51)
        tags.append(mesh.meshtags(domain, dimension, found, np.ones(len(found), np.int32)))
    return FamilyMesh(domain, *tags)


def main(folder: Path) -> None:
    comm = MPI.COMM_WORLD
    found = {}
    for name, domain in meshes(comm).items():
        d = domain.geometry.dim
        stored = write_tags(domain) if isinstance(domain, FamilyMesh) else {}
        elements: list[tuple] = [("Lagrange", 1), ("Lagrange", 3, (d,)), ("DG", 0), ("DG", 1)]
        if d > 1:
            elements.append(("N1curl", 1))
        spaces = {str(element): fem.functionspace(domain, element) for element in elements}
        parts = {key: (space, Unknowns(space)) for key, space in spaces.items()}
        taylor_hood = basix.ufl.mixed_element(
            [
                basix.ufl.element("Lagrange", domain.basix_cell(), 2, shape=(d,)),
                basix.ufl.element("Lagrange", domain.basix_cell(), 1),
            ]
        )
        mixed = fem.functionspace(domain, taylor_hood)
        parts |= {f"part {i}": (mixed, Unknowns(*mixed.sub(i).collapse())) for i in range(2)}
        for key, (space, unknowns) in parts.items():
            field = fem.Function(space)
            given = np.random.default_rng(1).standard_normal(unknowns.shape)
            unknowns.scatter(given, field.x.array)
            scattered = field.x.array.copy()
            field.x.scatter_forward()
            assert np.array_equal(field.x.array, scattered), "ghosts differ from their owners"
            gathered = unknowns.gather(field.x.array)
            cells = unknowns.cells()
            assert (gathered is None) == (cells is None) == (comm.rank != 0)

            if unknowns.tangents is not None:
                field.interpolate(lambda x, d=d: x[:d] ** 2)
                found[f"{name} {key} tangents"] = unknowns.tangents
                found[f"{name} {key} values"] = unknowns.gather(field.x.array)
            if gathered is not None:
                found |= {f"{name} {k}": v for k, v in stored.items()}
                assert np.array_equal(gathered, given), "gather is not the inverse of scatter"
                found[f"{name} {key} points"] = unknowns.points
                found[f"{name} {key} cells"] = cells
    if comm.rank == 0:
        np.savez(folder / f"ranks-{comm.size}.npz", **found)


main(Path(sys.argv[1]))
