# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A vector that one sparse product fills."""

from collections.abc import Sequence

from petsc4py import PETSc

import dolfinx.fem.petsc
import scipy.sparse
import ufl
from dolfinx import fem

from kryloset.fem.affine.coefficients import Coefficient, CoefficientValues
from kryloset.fem.affine.comparison import check_agreement, random_values
from kryloset.fem.affine.integrals import cell_dofs, find_constrained
from kryloset.fem.affine.maps import to_map, with_short_indices
from kryloset.fem.affine.tensors import element_tensors


class AffineVector:
    """b(f) = b_0 + sum_j f_j b_j, filled again and again for other coefficients.

    Attributes:
        vector: b, always the same object, with ghosts; zero in constrained rows.
        map_bytes: Memory of the sparse map on this process.
    """

    def __init__(
        self,
        form: ufl.Form,
        coefficients: Sequence[Coefficient],
        space: fem.FunctionSpace,
        bcs: Sequence[fem.DirichletBC] = (),
    ) -> None:
        """Build the map, compare it with an ordinary assembly, and fill the vector. Collective.

        Args:
            form: A linear form.
            coefficients: Functions and Constants whose values will change. Everything else in
                the form keeps its present value.
            space: The space of its test function.
            bcs: Dirichlet conditions with the value 0.

        Raises:
            ValueError: As `AffineMatrix` does.
        """
        compiled = fem.form(form)
        self._values = CoefficientValues(compiled, coefficients)
        constrained = find_constrained(space, bcs)
        rows = len(constrained)
        total = scipy.sparse.csr_array((rows, self._values.size), dtype=compiled.dtype)
        for part in element_tensors(compiled, (space,), self._values):
            dofs = cell_dofs(space, part.cells)
            total = total + to_map(part, dofs, ~constrained[dofs], rows, self._values.size)
        self._map = with_short_indices(total)
        stored = (self._map.data, self._map.indices, self._map.indptr)
        self.map_bytes: int = sum(array.nbytes for array in stored)
        self.vector = dolfinx.fem.petsc.create_vector(space)
        with random_values(self._values.changing):
            self._fill()
            reference = dolfinx.fem.petsc.assemble_vector(compiled)
            reference.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
            reference.array_w[constrained[: reference.local_size]] = 0
            norm = reference.norm()
            reference.axpy(-1.0, self.vector)
            check_agreement(reference.norm(), norm)
            reference.destroy()
        self._fill()

    def update(self) -> PETSc.Vec:
        """Fill the vector from the present values of the coefficients. Collective.

        If the form has no changing coefficient, the vector stays untouched.

        Returns:
            `vector`.
        """
        if self._values.changing:
            self._fill()
        return self.vector

    def _fill(self) -> None:
        with self.vector.localForm() as local:
            local.array_w[:] = self._map @ self._values.read()
        self.vector.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
