# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A matrix that one sparse product fills."""

from collections.abc import Sequence
from typing import Any

from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import scipy.sparse
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.fem.affine.coefficients import Coefficient, CoefficientValues
from kryloset.fem.affine.comparison import check_agreement, random_values
from kryloset.fem.affine.integrals import (
    Integers,
    cell_dofs,
    find_constrained,
    flat,
    form_integrals,
    local_size,
)
from kryloset.fem.affine.maps import to_map, with_short_indices
from kryloset.fem.affine.tensors import ENTRY_ROUNDING, element_tensors


class AffineMatrix:
    """A(k) = A_0 + sum_j k_j A_j, filled again and again for other coefficients.

    It equals the result of `dolfinx.fem.petsc.assemble_matrix` up to rounding, with the same
    pattern. Rows and columns of constrained degrees of freedom are those of the identity.

    Attributes:
        matrix: A, always the same object. It is square. Its form may be in any space, with
            integrals over cells and exterior facets.
        map_bytes: Memory of the sparse map on this process.
    """

    def __init__(
        self,
        form: ufl.Form,
        coefficients: Sequence[Coefficient],
        bcs: Sequence[fem.DirichletBC] = (),
        *,
        quadratic: bool = False,
    ) -> None:
        """Build the map, compare it with an ordinary assembly, and fill the matrix. Collective.

        Args:
            form: A bilinear form of one space.
            coefficients: Functions and Constants whose values will change. Everything else in
                the form keeps its present value.
            bcs: Dirichlet conditions. Only their degrees of freedom matter, not their values.
            quadratic: Whether the form is quadratic in the degrees of freedom of a Function.

        Raises:
            ValueError: The form is not affine (or quadratic) in the coefficients, it has integrals
                over interior facets, its two spaces differ, or a coefficient's basis functions
                depend on the orientation of cells.
        """
        compiled = fem.form(form)
        test, trial = compiled.function_spaces
        if test is not trial:
            raise ValueError("the test and trial functions of the form are in different spaces")
        space = form.arguments()[0].ufl_function_space()
        self._values = CoefficientValues(compiled, coefficients, quadratic=quadratic)
        pattern, constrained = _Pattern(compiled, space), find_constrained(space, bcs)
        self._map, self._spread = _share_rows(
            _matrix_map(compiled, space, self._values, pattern, constrained),
            pattern.transposed,
        )
        stored = (self._map.data, self._map.indices, self._map.indptr, self._spread)
        self.map_bytes: int = sum(array.nbytes for array in stored)

        index_map, block = space.dofmap.index_map, space.dofmap.index_map_bs
        sizes = (block * index_map.size_local, block * index_map.size_global)
        comm = space.mesh.comm
        rows, columns = (_global(space, dofs) for dofs in (pattern.rows, pattern.columns))
        self._entries = np.zeros(len(rows), compiled.dtype)
        self._shared = comm.size == 1
        if self._shared:
            begins = np.searchsorted(rows, np.arange(sizes[0] + 1)).astype(PETSc.IntType)
            csr = begins, columns, self._entries
            self.matrix = PETSc.Mat().createAIJWithArrays((sizes, sizes), csr, comm=comm)
            self.matrix.setBlockSize(block)
        else:
            self.matrix = PETSc.Mat().create(comm)
            self.matrix.setSizes((sizes, sizes), block)
            self.matrix.setType(PETSc.Mat.Type.AIJ)
            self.matrix.setPreallocationCOO(rows, columns)
        with random_values(self._values.changing):
            self._fill()
            # Ones on the diagonal would hide differences between small entries.
            reference = dolfinx.fem.petsc.assemble_matrix(compiled, bcs=list(bcs), diag=0.0)
            reference.assemble()
            self.matrix.setLGMap(*reference.getLGMap())
            norm = reference.norm()
            reference.axpy(-1.0, self.matrix)
            (ones,) = np.nonzero(constrained[: sizes[0]])
            reference.zeroRows(_global(space, ones), diag=0.0)
            kind = "quadratic" if quadratic else "affine"
            check_agreement(reference.norm(), norm, kind)
            reference.destroy()
        self._fill()

    def update(self) -> PETSc.Mat:
        """Fill the matrix from the present values of the coefficients. Collective.

        If the form has no changing coefficient, the matrix stays untouched, and PETSc keeps its
        factor.

        Returns:
            `matrix`.
        """
        if self._values.changing:
            self._fill()
        return self.matrix

    def _fill(self) -> None:
        distinct = self._map @ self._values.read()
        np.take(distinct, self._spread, out=self._entries, mode="clip")
        if self._shared:
            # The matrix shares these entries, and assembly tells it that they have changed.
            self.matrix.assemble()
        else:
            self.matrix.setValuesCOO(self._entries, PETSc.InsertMode.INSERT_VALUES)


class _Pattern:
    """Where a form's matrix has entries, from the cells of this process.

    Attributes:
        rows: (entries,): Local numbers of degrees of freedom, row by row.
        columns: (entries,): Local numbers of the columns.
        transposed: (entries,): The number of the entry in row `columns` and column `rows`.
    """

    def __init__(self, form: fem.Form, space: fem.FunctionSpace) -> None:
        self._width = local_size(space)
        keys = [np.empty(0, np.int64)]
        for integral in form_integrals(form):
            dofs = cell_dofs(space, np.unique(integral.cells))
            keys.append(np.unique(self._keys(dofs)))
        self._sorted = np.unique(np.concatenate(keys))
        self.rows, self.columns = np.divmod(self._sorted, self._width)
        self.transposed = self._find(self.columns * self._width + self.rows)

    def entries_of(self, dofs: Integers) -> Integers:
        """Return the numbers of the entries of cells, (cells, n n), for their n dofs."""
        return self._find(self._keys(dofs))

    def _keys(self, dofs: Integers) -> Integers:
        return flat(dofs[:, :, None] * self._width + dofs[:, None, :])

    def _find(self, keys: Integers) -> Integers:
        return np.searchsorted(self._sorted, keys)


def _matrix_map(
    form: fem.Form,
    space: fem.FunctionSpace,
    values: CoefficientValues,
    pattern: _Pattern,
    constrained: NDArray[np.bool_],
) -> scipy.sparse.csr_array:
    """Return the sparse map from (k, 1) to the entries of the form's matrix."""
    shape = (len(pattern.rows), values.size)
    owned = space.dofmap.index_map.size_local * space.dofmap.index_map_bs
    ones = constrained[pattern.rows] & (pattern.rows == pattern.columns) & (pattern.rows < owned)
    (diagonal,) = np.nonzero(ones)
    at = (diagonal, np.full(len(diagonal), values.size - 1))
    total = scipy.sparse.csr_array((np.ones(len(diagonal), form.dtype), at), shape)
    for part in element_tensors(form, (space, space), values):
        dofs = cell_dofs(space, part.cells)
        free = ~constrained[dofs]
        both = flat(free[:, :, None] & free[:, None, :])
        total = total + to_map(part, pattern.entries_of(dofs), both, *shape)
    return total


def _share_rows(
    total: scipy.sparse.csr_array, transposed: Integers
) -> tuple[scipy.sparse.csr_array, Integers]:
    """Return the distinct rows of a map, and for every row of the map its number among them.

    A symmetric matrix has each entry off the diagonal twice, and all rows of zeros are equal.
    """
    index = np.arange(total.shape[0])
    difference = _largest(total - total[transposed])
    same = difference <= 100 * ENTRY_ROUNDING * _largest(total)
    first = np.where(same, np.minimum(index, transposed), index)
    empty = np.diff(total.indptr) == 0
    first[empty] = np.flatnonzero(empty)[:1]
    distinct, spread = np.unique(first, return_inverse=True)
    return with_short_indices(total[distinct]), spread


def _largest(rows: scipy.sparse.csr_array) -> NDArray[np.float64]:
    """Return the absolute value of the largest entry of each row."""
    return np.asarray(abs(rows).max(axis=1).toarray()).ravel()


def _global(space: fem.FunctionSpace, dofs: Integers) -> NDArray[Any]:
    block = space.dofmap.index_map_bs
    nodes, component = np.divmod(dofs, block)
    found = space.dofmap.index_map.local_to_global(nodes.astype(np.int32)) * block + component
    return np.asarray(found, PETSc.IntType)
