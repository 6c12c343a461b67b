# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Evaluate functions on any number of ranks and save the results."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from dolfinx import fem, mesh

from kryloset.fem.evaluation import Evaluation
from kryloset.fem.unknowns import Unknowns


def main(folder: Path) -> None:
    comm = MPI.COMM_WORLD
    found = {}
    for d, domain in (
        (1, mesh.create_unit_interval(comm, 1)),
        (2, mesh.create_unit_square(comm, 4, 4)),
        (3, mesh.create_unit_cube(comm, 2, 2, 2)),
    ):
        # The lattice's own points lie on facets, where functions may jump; some lie outside.
        axes = [np.linspace(-0.25, 1.25, 13)] * d
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
        elements: list[tuple] = [("Lagrange", 3), ("Lagrange", 2, (d,)), ("DG", 0), ("DG", 1)]
        if d > 1:
            elements.append(("N1curl", 1))
        for element in elements:
            unknowns = Unknowns(fem.functionspace(domain, element))
            evaluation = Evaluation(unknowns, points)
            assert (evaluation.inside is None) == (comm.rank != 0)
            if comm.rank == 0:
                given = np.random.default_rng(1).standard_normal(unknowns.shape)
                found[f"{d} {element} values"] = evaluation(given)
                found[f"{d} {element} inside"] = evaluation.inside
    if comm.rank == 0:
        np.savez(folder / f"ranks-{comm.size}.npz", **found)


main(Path(sys.argv[1]))
