# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The finite element discretisation of a lattice family."""

from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import scipy.sparse
from dolfinx import default_scalar_type, fem, mesh

from kryloset.errors import DataError
from kryloset.problems.base import Array, Discretisation, Instance, Solve
from kryloset.problems.lattice import LatticeFamily


class LatticeDiscretisation(Discretisation):
    """Mesh, space, compiled forms, and one matrix and right-hand side for all instances.

    Attributes:
        space: Lagrange space; its degrees of freedom are the lattice points.
        matrix: A, refilled for each instance; boundary rows and columns are those of the identity.
        rhs: b, refilled for each instance.
    """

    def __init__(self, family: LatticeFamily, comm: MPI.Comm) -> None:
        """Build everything that the instances share."""
        cells, points = family.mesh.cells, family.mesh.points
        self.family = family
        self._shape = (points, points)
        square = mesh.create_unit_square(comm, cells, cells)
        self.space = fem.functionspace(square, ("Lagrange", family.mesh.degree))

        # Lattice point of each degree of freedom held here, ghosts included.
        at = np.rint(self.space.tabulate_dof_coordinates()[:, :2] * (points - 1)).astype(np.int64)
        self._lattice = np.ravel_multi_index((at[:, 0], at[:, 1]), self._shape)
        self._owned = self.space.dofmap.index_map.size_local
        self._gather_lattice(comm)

        self._parameters: dict[str, Any] = {
            variable.name: fem.Function(self.space)
            if variable.dimensions
            else fem.Constant(square, default_scalar_type(0))
            for variable in family.parameters
        }
        weak = family.weak_form(self.space, self._parameters)
        self._a, self._l = fem.form(weak.a), fem.form(weak.L)
        self._boundary = self._boundary_conditions(weak.boundary_value)
        self.matrix = dolfinx.fem.petsc.create_matrix(self._a)
        self.rhs = dolfinx.fem.petsc.create_vector(self.space)
        if family.operator.symmetric:
            self.matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
            self.matrix.setOption(PETSc.Mat.Option.SYMMETRY_ETERNAL, True)
        if family.operator.symmetric and family.operator.definite:
            self.matrix.setOption(PETSc.Mat.Option.SPD, True)

    def _gather_lattice(self, comm: MPI.Comm) -> None:
        """Learn on rank 0 which lattice points every rank owns, in the order of the ranks."""
        self._comm = comm
        self._counts = comm.gather(self._owned)
        parts = comm.gather(self._lattice[: self._owned])
        self._order = None if parts is None else np.concatenate(parts)

    def _boundary_conditions(self, value: float | None) -> list[fem.DirichletBC]:
        if value is None:
            return []
        domain = self.space.mesh
        facets = domain.topology.dim - 1
        domain.topology.create_connectivity(facets, facets + 1)
        outside = mesh.exterior_facet_indices(domain.topology)
        dofs = fem.locate_dofs_topological(self.space, facets, outside)
        return [fem.dirichletbc(default_scalar_type(value), dofs, self.space)]

    def assemble(self, instance: Instance) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Assemble one instance into the storage of all.

        Args:
            instance: The parameters by name, fields on the lattice.

        Returns:
            `matrix` and `rhs`.

        Raises:
            DataError: A parameter has another shape than the lattice, or is not finite.
        """
        for name, parameter in self._parameters.items():
            values = np.asarray(instance[name])
            if not np.isfinite(values).all():
                raise DataError(f"parameter {name} is not finite: mend the family's `draw`")
            if isinstance(parameter, fem.Constant):
                parameter.value = float(values)
                continue
            if values.shape != self._shape:
                raise DataError(
                    f"parameter {name} has shape {values.shape}, the lattice {self._shape}: "
                    "mend the family's `draw`, or draw again after changing `mesh`"
                )
            parameter.x.array[:] = values.ravel()[self._lattice]

        self.matrix.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(self.matrix, self._a, bcs=self._boundary)
        self.matrix.assemble()
        with self.rhs.localForm() as local:
            local.set(0)
        dolfinx.fem.petsc.assemble_vector(self.rhs, self._l)
        dolfinx.fem.petsc.apply_lifting(self.rhs, [self._a], [self._boundary])
        self.rhs.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(self.rhs, self._boundary)
        return self.matrix, self.rhs

    def solve(self, instance: Instance, solve: Solve) -> dict[str, Array]:
        """Assemble, solve, and gather the solution on the lattice."""
        solution = solve(*self.assemble(instance))
        owned = np.ascontiguousarray(solution.array_r[: self._owned])
        if self._order is None or self._counts is None:
            self._comm.Gatherv(owned, None)
            return {}
        gathered = np.empty(self._order.size)
        self._comm.Gatherv(owned, (gathered, self._counts))
        values = np.empty(self._order.size)
        values[self._order] = gathered
        return {self.family.fields[0].name: values.reshape(self._shape)}

    def residual(self, instance: Instance, fields: Instance) -> float:
        """Return ||b - A x|| / ||b|| of a stored field, with A from a fresh assembly."""
        matrix, rhs = self.assemble(instance)
        rows, columns, entries = matrix.getValuesCSR()
        operator = scipy.sparse.csr_array((entries, columns, rows), shape=matrix.size)
        x = fields[self.family.fields[0].name].ravel()[self._lattice[: self._owned]]
        b = rhs.array_r[: self._owned]
        return float(np.linalg.norm(b - operator @ x) / np.linalg.norm(b))
