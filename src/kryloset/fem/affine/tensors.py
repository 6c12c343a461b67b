# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Element tensors of a form, from the kernels that FFCx has compiled for it."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.fem.affine.coefficients import CoefficientValues, constant_units, function_units
from kryloset.fem.affine.integrals import Integers, Integral, flat, form_integrals

ENTRY_ROUNDING = 1e-15
"""Fraction of an element tensor's largest entry below which an entry is zero."""

_C_NAMES = {np.dtype(np.float64): "double", np.dtype(np.complex128): "double _Complex"}


class TensorPart(NamedTuple):
    """The contribution to element tensors of one local degree of freedom of a coefficient.

    Attributes:
        cells: (entities,), the cell of each entity.
        places: (entities,), its position in (k, 1) for each entity.
        tensors: (entities, entries), the contributions.
    """

    cells: Integers
    places: Integers
    tensors: NDArray[Any]


def element_tensors(
    form: fem.Form, spaces: Sequence[fem.FunctionSpace], values: CoefficientValues
) -> Iterator[TensorPart]:
    """Yield T(0), and T(e_j) - T(0) for every j, of all integrals; or the tensors of products."""
    packed = fem.pack_coefficients(form)
    for integral in form_integrals(form):
        numbers = fem.pack_constants(form).copy()
        coefficients = packed[integral.key].copy()
        functions = [
            [(coefficients[:, j], places) for j, places in units]
            for units in function_units(form, integral, values)
        ]
        constants = [
            (numbers[j : j + 1], np.full(len(integral.cells), place))
            for j, place in constant_units(form, values)
        ]
        for unit, _ in (*constants, *(unit for units in functions for unit in units)):
            unit[:] = 0
        tabulate = _Tabulation(form, spaces, integral, coefficients, numbers)
        at_zero = tabulate()
        last = np.full(len(integral.cells), values.size - 1)
        yield TensorPart(integral.cells, last, at_zero)
        affine = constants if values.quadratic else [*constants, *chain.from_iterable(functions)]
        for unit, places in affine:
            yield TensorPart(integral.cells, places, _difference(tabulate, at_zero, unit))
        if values.quadratic:
            for units in functions:
                yield from _quadratic_parts(integral.cells, tabulate, at_zero, units, values)


def _quadratic_parts(
    cells: Integers,
    tabulate: "_Tabulation",
    at_zero: NDArray[Any],
    units: list[tuple[NDArray[Any], Integers]],
    values: CoefficientValues,
) -> Iterator[TensorPart]:
    """Yield T_ij and D_j - T_jj of one Function."""

    def square_of(unit: NDArray[Any], s: float) -> NDArray[Any]:
        once, twice = (_difference(tabulate, at_zero, unit, value=n * s) for n in (1, 2))
        with np.errstate(invalid="ignore"):
            return np.asarray(twice / 2 - once)

    s = _balance(at_zero, square_of(units[0][0], 1))
    differences = [_difference(tabulate, at_zero, unit, value=s) for unit, _ in units]
    # Where differences of differences should be zero, they are only zero up to rounding.
    size = np.max([abs(at_zero), *map(abs, differences)], axis=(0, 2), initial=0)[:, None]

    def rounded(tensors: NDArray[Any]) -> NDArray[Any]:
        return np.where(abs(tensors) <= 10 * ENTRY_ROUNDING * size, 0, tensors)

    for j, (unit, places) in enumerate(units):
        square = square_of(unit, s)
        yield TensorPart(cells, values.find_products(places, places), rounded(square) / s**2)
        yield TensorPart(cells, places, rounded(differences[j] - square) / s)
        for i, (other, other_places) in enumerate(units[:j]):
            both = _difference(tabulate, at_zero, unit, other, value=s)
            with np.errstate(invalid="ignore"):
                both -= differences[i] + differences[j]
            yield TensorPart(
                cells, values.find_products(other_places, places), rounded(both) / s**2
            )


def _balance(at_zero: NDArray[Any], square: NDArray[Any]) -> float:
    """Return a power of 2, s >= 1, that makes s^2 times the second about as large as the first."""
    sizes = [float(abs(tensors).max(initial=0)) for tensors in (at_zero, square)]
    # Written so that NaN gives 1; the check of the map finds it.
    if not (sizes[0] > sizes[1] > 0):
        return 1.0
    return 2.0 ** round(math.log2(sizes[0] / sizes[1]) / 2)


def _difference(
    tabulate: "_Tabulation", at_zero: NDArray[Any], *units: NDArray[Any], value: float = 1
) -> NDArray[Any]:
    """Return T - T(0), where T has the value for these numbers and zero for the others."""
    for unit in units:
        unit[:] = value
    with np.errstate(invalid="ignore"):
        difference = tabulate() - at_zero
    for unit in units:
        unit[:] = 0
    return np.asarray(difference)


class _Tabulation:
    """Element tensors of an integral for the present values of coefficients and constants."""

    def __init__(
        self,
        form: fem.Form,
        spaces: Sequence[fem.FunctionSpace],
        integral: Integral,
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
        return flat(tensors)

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
