# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The changing coefficients of a form as one vector, and the positions of each cell's values."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.fem.affine.integrals import Integers, Integral, cell_dofs, form_integrals

type Coefficient = fem.Function | fem.Constant


class CoefficientValues:
    """The vector (k, 1) of the degrees of freedom of the changing coefficients of a form.

    For quadratic forms it is (k, p, 1), where p are the products of two degrees of freedom that a
    Function has in one cell.

    Attributes:
        changing: The changing coefficients that occur in the form.
        quadratic: Whether there are products.
        starts: Position of each coefficient in the vector.
        size: Length of the vector on this process, ghosts included.
    """

    def __init__(
        self, form: fem.Form, coefficients: Sequence[Coefficient], *, quadratic: bool = False
    ) -> None:
        """Find the coefficients that occur in a form.

        Args:
            form: The compiled form.
            coefficients: Functions and Constants whose values will change.
            quadratic: Whether products of two numbers of a Function are needed.
        """
        occurring = [*form._cpp_object.coefficients, *form._cpp_object.constants]
        self.changing = [c for c in coefficients if any(c._cpp_object is o for o in occurring)]
        sizes = [numbers_of(coefficient).size for coefficient in self.changing]
        self.starts = np.cumsum([0, *sizes])
        self.quadratic, self._count = quadratic, sum(sizes)
        self._pairs = np.empty(0, np.int64)
        if quadratic:
            self._pairs = np.unique(np.concatenate([self._pairs, *self._find_pairs(form)]))
        self._first, self._second = np.divmod(self._pairs, max(self._count, 1))
        self.size = self._count + len(self._pairs) + 1
        self._vector = np.ones(self.size, form.dtype)

    def find(self, cpp_object: Any) -> tuple[Coefficient, int] | None:
        """Return a changing coefficient and its position; None for other coefficients."""
        for coefficient, start in zip(self.changing, self.starts, strict=False):
            if coefficient._cpp_object is cpp_object:
                return coefficient, int(start)
        return None

    def read(self) -> NDArray[Any]:
        """Return the vector of the present values."""
        for coefficient, start in zip(self.changing, self.starts, strict=False):
            numbers = numbers_of(coefficient)
            self._vector[start : start + numbers.size] = numbers
        if self.quadratic:
            products = self._vector[self._count : -1]
            np.multiply(self._vector[self._first], self._vector[self._second], out=products)
        return self._vector

    def find_products(self, one: Integers, other: Integers) -> Integers:
        """Return the positions of the products of the numbers at given positions."""
        return self._count + np.searchsorted(self._pairs, self._key(one, other))

    def _find_pairs(self, form: fem.Form) -> Iterator[Integers]:
        for integral in form_integrals(form):
            for units in function_units(form, integral, self):
                for i, (_, one) in enumerate(units):
                    yield from (np.unique(self._key(one, other)) for _, other in units[i:])

    def _key(self, one: Integers, other: Integers) -> Integers:
        return np.minimum(one, other) * self._count + np.maximum(one, other)


def function_units(
    form: fem.Form, integral: Integral, values: CoefficientValues
) -> Iterator[list[tuple[int, Integers]]]:
    """Yield, for each changing Function, the packed columns and their positions in (k, 1)."""
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
            dofs = cell_dofs(function.function_space, integral.cells)
            yield [(begin + j, start + places) for j, places in enumerate(dofs.T)]
        begin += cpp_object.function_space.element.space_dimension


def constant_units(form: fem.Form, values: CoefficientValues) -> Iterator[tuple[int, int]]:
    """Yield the packed index of each number of a changing Constant, and its position in (k, 1)."""
    begin = 0
    for cpp_object in form._cpp_object.constants:
        size = np.size(cpp_object.value)
        found = values.find(cpp_object)
        if found is not None:
            yield from ((begin + j, found[1] + j) for j in range(size))
        begin += size


def numbers_of(coefficient: Coefficient) -> NDArray[Any]:
    """Return the values of a coefficient, ghosts included, as a view."""
    function = isinstance(coefficient, fem.Function)
    return np.asarray(coefficient.x.array if function else coefficient.value).reshape(-1)
