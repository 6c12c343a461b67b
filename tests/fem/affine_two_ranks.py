# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compare assembly by a sparse map with DOLFINx's, on any number of ranks."""

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem, mesh

from kryloset.fem.affine import AffineMatrix, AffineVector


def main(domain: mesh.Mesh, shape: tuple[int, ...], degree: int) -> None:
    comm = MPI.COMM_WORLD
    space = fem.functionspace(domain, ("Lagrange", degree, shape))
    k = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    a = (1 + k) * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx + k * ufl.inner(u, v) * ufl.ds
    dimension = domain.topology.dim - 1
    facets = mesh.locate_entities_boundary(domain, dimension, lambda x: np.isclose(x[0], 0))
    # Some ranks have no facet there.
    left = mesh.meshtags(domain, dimension, facets, np.full(len(facets), 1, np.int32))
    test = v[0] if shape else v
    b = k * test * ufl.dx + k * test * ufl.ds(1, subdomain_data=left)
    dofs = fem.locate_dofs_topological(space, dimension, facets)
    bcs = [fem.dirichletbc(fem.Function(space), dofs)]
    vector = AffineVector(b, [k], space, bcs)
    squared = a - k**2 * ufl.inner(u, v) * ufl.dx
    matrices = [(a, AffineMatrix(a, [k], bcs))]
    matrices.append((squared, AffineMatrix(squared, [k], bcs, quadratic=True)))
    for power in (1, 2):
        k.interpolate(lambda x, n=power: 1 + x[0] ** n + 2 * x[1])
        for form, matrix in matrices:
            expected = dolfinx.fem.petsc.assemble_matrix(fem.form(form), bcs=bcs)
            expected.assemble()
            (*pattern, entries), (*expected_pattern, right) = (
                mat.getValuesCSR() for mat in (matrix.update(), expected)
            )
            assert all(map(np.array_equal, pattern, expected_pattern))
            largest = comm.allreduce(abs(right).max(initial=0), MPI.MAX)
            assert abs(entries - right).max(initial=0) <= 1e-12 * largest

        rhs = dolfinx.fem.petsc.assemble_vector(fem.form(b))
        rhs.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(rhs, bcs)
        largest = comm.allreduce(abs(rhs.array).max(initial=0), MPI.MAX)
        assert abs(vector.update().array - rhs.array).max(initial=0) <= 1e-12 * largest
        # Only owned entries: the rank that owns a ghost sets it.
        rhs.axpy(-1.0, vector.vector)
        assert rhs.norm(PETSc.NormType.INFINITY) <= 1e-12 * largest


for ghost_mode in (mesh.GhostMode.shared_facet, mesh.GhostMode.none):
    square = mesh.create_unit_square(MPI.COMM_WORLD, 7, 5, ghost_mode=ghost_mode)
    for shape, degree in (((), 1), ((), 2), ((2,), 1)):
        main(square, shape, degree)
# Some ranks have no cell there.
main(mesh.create_interval(MPI.COMM_WORLD, 1, [0.0, 1.0]), (), 1)
