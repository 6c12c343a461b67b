# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly by one sparse matrix, where a form is affine in its coefficients.

Let a form be affine in the degrees of freedom k of its coefficients. On a cell c, with
the local degrees of freedom k_j, its element tensor is

    T^c(k) = T^c(0) + sum_j k_j (T^c(e_j) - T^c(0)),    e_j the j-th unit vector,

and every entry of the assembled matrix or vector is a sum of such tensors, that is, a row
of a sparse matrix times (k, 1). The tensors come once from the kernels that FFCx compiles
for the form, with unit vectors for coefficients. This is the tensor representation of
Kirby and Logg (ACM Trans. Math. Softw. 32, 2006), with the geometry of the mesh put in too.

A form that is quadratic in coefficients is affine in k and the products k_i k_j of two numbers of
one cell. With D_j = T^c(e_j) - T^c(0) and so on, k_i k_j has the tensor

    T_ij = T^c(e_i + e_j) - T^c(0) - D_i - D_j  (i < j),    T_jj = (T^c(2 e_j) - T^c(0)) / 2 - D_j,

and k_j has D_j - T_jj. They are computed with s e_j, s such that T(0) and s^2 T_jj are about the
same: the smaller one would lose digits.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import scipy.sparse
import ufl
from dolfinx import fem
from numpy.typing import NDArray

type Coefficient = fem.Function | fem.Constant
type Integers = NDArray[np.int64]

AGREEMENT = 1e-10
"""Relative difference from an ordinary assembly, from which on a form is not affine."""

ROUNDING = 1e-15
"""Part of an element tensor's largest entry, up to which another one is a zero."""

_C_NAMES = {np.dtype(np.float64): "double", np.dtype(np.complex128): "double _Complex"}


class AffineMatrix:
    """A(k) = A_0 + sum_j k_j A_j, filled again and again for other coefficients.

    It is what `dolfinx.fem.petsc.assemble_matrix` gives, up to rounding and with the same
    pattern: rows and columns of constrained degrees of freedom are those of the identity.

    Attributes:
        matrix: A, one and the same object; square, in any space whose form has integrals over
            cells and exterior facets.
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
            bcs: Dirichlet conditions, of which only the places matter.
            quadratic: Whether it is quadratic in the numbers of any of the Functions.

        Raises:
            ValueError: The form is not affine, or quadratic, in the coefficients, it has
                integrals over interior facets, its two spaces differ, or a coefficient's
                basis functions depend on the orientation of cells.
        """
        compiled = fem.form(form)
        test, trial = compiled.function_spaces
        if test is not trial:
            raise ValueError("the test and the trial functions of the form are of two spaces")
        space = form.arguments()[0].ufl_function_space()
        self._values = _Values(compiled, coefficients, quadratic=quadratic)
        pattern, constrained = _Pattern(compiled, space), _constrained(space, bcs)
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
            # Ones on the diagonal would hide what is small beside them.
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

        Where there is no coefficient it does nothing, so that PETSc keeps a factor.

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
            # The entries are the matrix's own; it has to be told that they are others now.
            self.matrix.assemble()
        else:
            self.matrix.setValuesCOO(self._entries, PETSc.InsertMode.INSERT_VALUES)


class AffineVector:
    """b(f) = b_0 + sum_j f_j b_j, filled again and again for other coefficients.

    Attributes:
        vector: b, one and the same object, with ghosts; zero in constrained rows.
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
        self._values = _Values(compiled, coefficients)
        constrained = _constrained(space, bcs)
        rows = len(constrained)
        total = scipy.sparse.csr_array((rows, self._values.size), dtype=compiled.dtype)
        for part in _element_tensors(compiled, (space,), self._values):
            dofs = _cell_dofs(space, part.cells)
            total = total + _to_map(part, dofs, ~constrained[dofs], rows, self._values.size)
        self._map = _with_short_indices(total)
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

        Where there is no coefficient it does nothing.

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


@contextmanager
def random_values(coefficients: Sequence[Coefficient]) -> Iterator[None]:
    """Let coefficients have random values between 1 and 2 meanwhile. Collective."""
    generator = np.random.default_rng(1)
    kept = [_numbers(coefficient).copy() for coefficient in coefficients]
    for coefficient in coefficients:
        _numbers(coefficient)[:] = generator.uniform(1.0, 2.0, _numbers(coefficient).size)
        if isinstance(coefficient, fem.Function):
            coefficient.x.scatter_forward()
    try:
        yield
    finally:
        for coefficient, numbers in zip(coefficients, kept, strict=True):
            _numbers(coefficient)[:] = numbers


def check_agreement(difference: float, norm: float, kind: str = "affine") -> None:
    """Compare with an ordinary assembly, for random coefficients.

    Args:
        difference: Norm of the difference from it.
        norm: Its norm.
        kind: What the form is claimed to be.

    Raises:
        ValueError: They differ by more than rounding.
    """
    # Written so that NaN fails.
    if not difference <= AGREEMENT * norm:
        raise ValueError(f"the form is not {kind} in its coefficients")


class _Values:
    """The vector (k, 1) of the degrees of freedom of all coefficients that occur in a form.

    With products it is (k, p, 1), p being those of two numbers of a Function in one cell.

    Attributes:
        changing: These coefficients.
        quadratic: Whether there are products.
        starts: Where each begins in the vector.
        size: Length of the vector on this process, ghosts included.
    """

    def __init__(
        self, form: fem.Form, coefficients: Sequence[Coefficient], *, quadratic: bool = False
    ) -> None:
        occurring = [*form._cpp_object.coefficients, *form._cpp_object.constants]
        self.changing = [c for c in coefficients if any(c._cpp_object is o for o in occurring)]
        sizes = [_numbers(coefficient).size for coefficient in self.changing]
        self.starts = np.cumsum([0, *sizes])
        self.quadratic, self._count = quadratic, sum(sizes)
        self._pairs = np.empty(0, np.int64)
        if quadratic:
            self._pairs = np.unique(np.concatenate([self._pairs, *self._find_pairs(form)]))
        self._first, self._second = np.divmod(self._pairs, max(self._count, 1))
        self.size = self._count + len(self._pairs) + 1
        self._vector = np.ones(self.size, form.dtype)

    def find(self, cpp_object: Any) -> tuple[Coefficient, int] | None:
        """Return a changing coefficient, and where it begins; None if it is no such."""
        for coefficient, start in zip(self.changing, self.starts, strict=False):
            if coefficient._cpp_object is cpp_object:
                return coefficient, int(start)
        return None

    def read(self) -> NDArray[Any]:
        """Return the vector of the present values."""
        for coefficient, start in zip(self.changing, self.starts, strict=False):
            numbers = _numbers(coefficient)
            self._vector[start : start + numbers.size] = numbers
        if self.quadratic:
            products = self._vector[self._count : -1]
            np.multiply(self._vector[self._first], self._vector[self._second], out=products)
        return self._vector

    def find_products(self, one: Integers, other: Integers) -> Integers:
        """Return the places of the products of the numbers at two places each."""
        return self._count + np.searchsorted(self._pairs, self._key(one, other))

    def _find_pairs(self, form: fem.Form) -> Iterator[Integers]:
        for integral in _integrals(form):
            for units in _function_units(form, integral, self):
                for i, (_, one) in enumerate(units):
                    yield from (np.unique(self._key(one, other)) for _, other in units[i:])

    def _key(self, one: Integers, other: Integers) -> Integers:
        return np.minimum(one, other) * self._count + np.maximum(one, other)


class _Pattern:
    """Where a form's matrix has entries, from the cells of this process.

    Attributes:
        rows: (entries,): Local numbers of degrees of freedom, row by row.
        columns: (entries,): Such of the columns.
        transposed: (entries,): The number of the entry in the row `columns` and column `rows`.
    """

    def __init__(self, form: fem.Form, space: fem.FunctionSpace) -> None:
        self._width = _local_size(space)
        keys = [np.empty(0, np.int64)]
        for integral in _integrals(form):
            dofs = _cell_dofs(space, np.unique(integral.cells))
            keys.append(np.unique(self._keys(dofs)))
        self._sorted = np.unique(np.concatenate(keys))
        self.rows, self.columns = np.divmod(self._sorted, self._width)
        self.transposed = self._find(self.columns * self._width + self.rows)

    def entries_of(self, dofs: Integers) -> Integers:
        """Return the numbers of the entries of cells, (cells, n n), for their n dofs."""
        return self._find(self._keys(dofs))

    def _keys(self, dofs: Integers) -> Integers:
        return _flat(dofs[:, :, None] * self._width + dofs[:, None, :])

    def _find(self, keys: Integers) -> Integers:
        return np.searchsorted(self._sorted, keys)


class _Integral(NamedTuple):
    """One integral of a form.

    Attributes:
        key: Its type, and its number among those of that type.
        kernel: What FFCx has compiled.
        cells: (entities,).
        facets: (entities,): Local number of a facet in its cell; 0 for a cell.
    """

    key: tuple[Any, int]
    kernel: Any
    cells: Integers
    facets: NDArray[np.int32]


class _Part(NamedTuple):
    """What element tensors have from one place of (k, 1) in the numbering of each cell.

    Attributes:
        cells: (entities,).
        places: (entities,): The place in (k, 1).
        tensors: (entities, entries).
    """

    cells: Integers
    places: Integers
    tensors: NDArray[Any]


def _integrals(form: fem.Form) -> Iterator[_Integral]:
    cpp, compiled = form._cpp_object, form.ufcx_form
    for kind in cpp.integral_types:
        if kind not in (fem.IntegralType.cell, fem.IntegralType.exterior_facet):
            raise ValueError(f"the form has an integral of type {kind.name}: not offered here")
        first, last = (compiled.form_integral_offsets[int(kind.value) + i] for i in (0, 1))
        if cpp.num_integrals(kind, 0) != last - first:
            raise ValueError("the form has an integral over a subdomain that is not given")
        for number in range(last - first):
            entities = np.asarray(cpp.domains(kind, number))
            facets = np.zeros(len(entities), np.int32)
            if entities.ndim == 2:
                entities, facets = entities[:, 0], np.ascontiguousarray(entities[:, 1])
            kernel = compiled.form_integrals[first + number]
            yield _Integral((kind, number), kernel, entities.astype(np.int64), facets)


def _element_tensors(
    form: fem.Form, spaces: Sequence[fem.FunctionSpace], values: _Values
) -> Iterator[_Part]:
    """Yield T(0), and T(e_j) - T(0) for every j, of all integrals; or the quadratic ones."""
    packed = fem.pack_coefficients(form)
    for integral in _integrals(form):
        numbers = fem.pack_constants(form).copy()
        coefficients = packed[integral.key].copy()
        functions = [
            [(coefficients[:, j], places) for j, places in units]
            for units in _function_units(form, integral, values)
        ]
        constants = [
            (numbers[j : j + 1], np.full(len(integral.cells), place))
            for j, place in _constant_units(form, values)
        ]
        for unit, _ in (*constants, *(unit for units in functions for unit in units)):
            unit[:] = 0
        tabulate = _Tabulation(form, spaces, integral, coefficients, numbers)
        at_zero = tabulate()
        last = np.full(len(integral.cells), values.size - 1)
        yield _Part(integral.cells, last, at_zero)
        affine = constants if values.quadratic else [*constants, *chain.from_iterable(functions)]
        for unit, places in affine:
            yield _Part(integral.cells, places, _difference(tabulate, at_zero, unit))
        if values.quadratic:
            for units in functions:
                yield from _quadratic_parts(integral.cells, tabulate, at_zero, units, values)


def _quadratic_parts(
    cells: Integers,
    tabulate: "_Tabulation",
    at_zero: NDArray[Any],
    units: list[tuple[NDArray[Any], Integers]],
    values: _Values,
) -> Iterator[_Part]:
    """Yield T_ij, and D_j - T_jj, of one Function."""

    def square_of(unit: NDArray[Any], s: float) -> NDArray[Any]:
        once, twice = (_difference(tabulate, at_zero, unit, value=n * s) for n in (1, 2))
        with np.errstate(invalid="ignore"):
            return np.asarray(twice / 2 - once)

    s = _balance(at_zero, square_of(units[0][0], 1))
    differences = [_difference(tabulate, at_zero, unit, value=s) for unit, _ in units]
    # Differences of differences are zero up to rounding, where they should be zero.
    size = np.max([abs(at_zero), *map(abs, differences)], axis=(0, 2), initial=0)[:, None]

    def rounded(tensors: NDArray[Any]) -> NDArray[Any]:
        return np.where(abs(tensors) <= 10 * ROUNDING * size, 0, tensors)

    for j, (unit, places) in enumerate(units):
        square = square_of(unit, s)
        yield _Part(cells, values.find_products(places, places), rounded(square) / s**2)
        yield _Part(cells, places, rounded(differences[j] - square) / s)
        for i, (other, other_places) in enumerate(units[:j]):
            both = _difference(tabulate, at_zero, unit, other, value=s)
            with np.errstate(invalid="ignore"):
                both -= differences[i] + differences[j]
            yield _Part(cells, values.find_products(other_places, places), rounded(both) / s**2)


def _balance(at_zero: NDArray[Any], square: NDArray[Any]) -> float:
    """Return s, a power of 2 and at least 1, such that s^2 times the second is like the first."""
    sizes = [float(abs(tensors).max(initial=0)) for tensors in (at_zero, square)]
    # Written so that NaN gives 1; the check of the map finds it.
    if not (sizes[0] > sizes[1] > 0):
        return 1.0
    return 2.0 ** round(math.log2(sizes[0] / sizes[1]) / 2)


def _difference(
    tabulate: "_Tabulation", at_zero: NDArray[Any], *units: NDArray[Any], value: float = 1
) -> NDArray[Any]:
    """Return T - T(0), T with the value for these numbers, and zero for the others."""
    for unit in units:
        unit[:] = value
    with np.errstate(invalid="ignore"):
        difference = tabulate() - at_zero
    for unit in units:
        unit[:] = 0
    return np.asarray(difference)


def _function_units(
    form: fem.Form, integral: _Integral, values: _Values
) -> Iterator[list[tuple[int, Integers]]]:
    """Yield the column of each packed number, and its place in (k, 1), a changing Function each."""
    begin = 0
    for number, cpp_object in enumerate(form._cpp_object.coefficients):
        found = values.find(cpp_object)
        if found is not None and integral.kernel.enabled_coefficients[number]:
            function, start = found
            if function.function_space.element.needs_dof_transformations:
                raise ValueError(
                    f"basis functions of coefficient {function.name} depend on the orientation of "
                    "cells: use Lagrange or discontinuous elements"
                )
            dofs = _cell_dofs(function.function_space, integral.cells)
            yield [(begin + j, start + places) for j, places in enumerate(dofs.T)]
        begin += cpp_object.function_space.element.space_dimension


def _constant_units(form: fem.Form, values: _Values) -> Iterator[tuple[int, int]]:
    """Yield where each number of a changing Constant is among all, and its place in (k, 1)."""
    begin = 0
    for cpp_object in form._cpp_object.constants:
        size = np.size(cpp_object.value)
        found = values.find(cpp_object)
        if found is not None:
            yield from ((begin + j, found[1] + j) for j in range(size))
        begin += size


class _Tabulation:
    """Element tensors of an integral, for coefficients and constants that are changed between."""

    def __init__(
        self,
        form: fem.Form,
        spaces: Sequence[fem.FunctionSpace],
        integral: _Integral,
        coefficients: NDArray[Any],
        constants: NDArray[Any],
    ) -> None:
        geometry = form.mesh.geometry
        self._points = geometry.x[geometry.dofmaps[0][integral.cells]]
        self._kernel = getattr(integral.kernel, f"tabulate_tensor_{form.dtype.name}")
        self._ffi = form.module.ffi
        self._integral, self._elements = integral, [space.element for space in spaces]
        self._shape = tuple(element.space_dimension for element in self._elements)
        self._coefficients, self._constants = coefficients, constants
        topology = form.mesh.topology
        self._orientations: NDArray[np.uint32] | None = None
        if any(element.needs_dof_transformations for element in self._elements):
            topology.create_entity_permutations()
            self._orientations = topology.get_cell_permutation_info()[integral.cells]

    def __call__(self) -> NDArray[Any]:
        """Return the tensors, (entities, entries)."""
        entities = len(self._integral.cells)
        tensors = np.zeros((entities, *self._shape), self._coefficients.dtype)
        scalar, null = _C_NAMES[tensors.dtype], self._ffi.NULL
        constants = self._pointer(self._constants, scalar)
        rows = [
            (self._pointer(tensors, scalar), tensors[:1].size),
            (self._pointer(self._coefficients, scalar), self._coefficients.shape[1]),
            (self._pointer(self._points, "double"), self._points[:1].size),
        ]
        (a, a_size), (w, w_size), (x, x_size) = rows
        facets = self._pointer(self._integral.facets, "int")
        for i in range(entities):
            self._kernel(
                a + i * a_size, w + i * w_size, constants, x + i * x_size, facets + i, null, null
            )
        if self._orientations is not None:
            self._orient(tensors, self._orientations)
        return _flat(tensors)

    def _pointer(self, array: NDArray[Any], kind: str) -> Any:
        return self._ffi.cast(f"{kind} *", array.ctypes.data)

    def _orient(self, tensors: NDArray[Any], orientations: NDArray[np.uint32]) -> None:
        """Turn reference basis functions into those of the mesh, for each argument."""
        for axis, element in enumerate(self._elements, start=1):
            for tensor, orientation in zip(tensors, orientations, strict=True):
                turned = np.moveaxis(tensor, axis - 1, 0)
                flat = np.ascontiguousarray(turned).ravel()
                element.T_apply(flat, np.array([orientation]), flat.size // len(turned))
                turned[:] = flat.reshape(turned.shape)


def _matrix_map(
    form: fem.Form,
    space: fem.FunctionSpace,
    values: _Values,
    pattern: _Pattern,
    constrained: NDArray[np.bool_],
) -> scipy.sparse.csr_array:
    """Return the matrix whose product with (k, 1) is the entries of the form's matrix."""
    shape = (len(pattern.rows), values.size)
    owned = space.dofmap.index_map.size_local * space.dofmap.index_map_bs
    ones = constrained[pattern.rows] & (pattern.rows == pattern.columns) & (pattern.rows < owned)
    (diagonal,) = np.nonzero(ones)
    at = (diagonal, np.full(len(diagonal), values.size - 1))
    total = scipy.sparse.csr_array((np.ones(len(diagonal), form.dtype), at), shape)
    for part in _element_tensors(form, (space, space), values):
        dofs = _cell_dofs(space, part.cells)
        free = ~constrained[dofs]
        both = _flat(free[:, :, None] & free[:, None, :])
        total = total + _to_map(part, pattern.entries_of(dofs), both, *shape)
    return total


def _to_map(
    part: _Part, rows: Integers, free: NDArray[np.bool_], *shape: int
) -> scipy.sparse.csr_array:
    """Return the sparse matrix that adds up a part's tensors, without zeros."""
    size = abs(part.tensors)
    # Not to be found zero is NaN, by which a form that is not affine is noticed.
    kept = free & ~(size <= ROUNDING * size.max(axis=1, keepdims=True, initial=0))
    columns = np.broadcast_to(part.places[:, None], rows.shape)
    return scipy.sparse.csr_array((part.tensors[kept], (rows[kept], columns[kept])), shape)


def _share_rows(
    total: scipy.sparse.csr_array, transposed: Integers
) -> tuple[scipy.sparse.csr_array, Integers]:
    """Return the distinct rows of a map, and for every row of the map which of them it is.

    A symmetric matrix has each entry beside the diagonal twice, and zeros are all the same.
    """
    index = np.arange(total.shape[0])
    difference = _largest(total - total[transposed])
    same = difference <= 100 * ROUNDING * _largest(total)
    first = np.where(same, np.minimum(index, transposed), index)
    empty = np.diff(total.indptr) == 0
    first[empty] = np.flatnonzero(empty)[:1]
    distinct, spread = np.unique(first, return_inverse=True)
    return _with_short_indices(total[distinct]), spread


def _with_short_indices(total: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Return the map with indices of 32 bits, if they suffice: a product is as fast as memory."""
    kind = scipy.sparse.get_index_dtype(maxval=max(total.nnz, *total.shape))
    arrays = total.data, total.indices.astype(kind), total.indptr.astype(kind)
    return scipy.sparse.csr_array(arrays, total.shape)


def _largest(rows: scipy.sparse.csr_array) -> NDArray[np.float64]:
    """Return the absolute value of the largest entry of each row."""
    return np.asarray(abs(rows).max(axis=1).toarray()).ravel()


def _numbers(coefficient: Coefficient) -> NDArray[Any]:
    """Return the values of a coefficient, ghosts included, as a view."""
    function = isinstance(coefficient, fem.Function)
    return np.asarray(coefficient.x.array if function else coefficient.value).reshape(-1)


def _constrained(space: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC]) -> NDArray[np.bool_]:
    found = np.zeros(_local_size(space), np.bool_)
    for bc in bcs:
        found[bc.dof_indices()[0]] = True
    return found


def _local_size(space: fem.FunctionSpace) -> int:
    index_map = space.dofmap.index_map
    return int(space.dofmap.index_map_bs * (index_map.size_local + index_map.num_ghosts))


def _cell_dofs(space: fem.FunctionSpace, cells: Integers) -> Integers:
    """Return local numbers of all degrees of freedom of cells, (cells, dofs of a cell)."""
    block = space.dofmap.bs
    nodes = space.dofmap.list[cells].astype(np.int64)
    return _flat(nodes[:, :, None] * block + np.arange(block))


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with all axes but the first as one, also where there is no row."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _global(space: fem.FunctionSpace, dofs: Integers) -> NDArray[Any]:
    block = space.dofmap.index_map_bs
    nodes, component = np.divmod(dofs, block)
    found = space.dofmap.index_map.local_to_global(nodes.astype(np.int32)) * block + component
    return np.asarray(found, PETSc.IntType)
