# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Products A x of an operator that is not assembled, for one instance or for several together."""

from collections.abc import Sequence
from typing import Any

import basix.ufl
import numpy as np
import ufl
from dolfinx import default_scalar_type, fem
from numpy.typing import NDArray

from kryloset.fem.group.values import Coefficient, GroupValues
from kryloset.fem.packing import Packing
from kryloset.problems.base import Array

WIDTH = 4
"""How many instances have their products together. More would take hardly less time for each, and
longer to compile."""


class Action:
    """A x as a vector that DOLFINx assembles: the action of the form of A on x.

    Neither a matrix nor the kernels that solved have a part in it. Several instances are components
    of one form, so that DOLFINx visits each cell once for all of them.

    Attributes:
        values: Those of the coefficients of each instance.
    """

    def __init__(self, space: fem.FunctionSpace, a: ufl.Form, values: GroupValues) -> None:
        """Compile the form. Serial.

        Args:
            space: The space of x. For several instances `are_components` must be true.
            a: The bilinear form.
            values: Those of the coefficients that change, with a lane for each instance.
        """
        self.values = values
        x = fem.Function(space)
        form = ufl.action(a, x)
        self._wide: list[tuple[Coefficient, Coefficient]] = []
        if values.lanes > 1:
            read = (*form.coefficients(), *form.constants())
            changing = [one for one in values.changing if any(one is other for other in read)]
            self._wide = [(one, _widen(one, values.lanes)) for one in changing]
            wide = _widen(x, values.lanes)
            tests = ufl.TestFunction(wide.function_space)
            pairs = [(x, wide), (form.arguments()[0], tests), *self._wide]
            form = sum(
                ufl.replace(form, {one: several[lane, ...] for one, several in pairs})
                for lane in range(values.lanes)
            )
            x = wide
        self._x, self._form = x, fem.form(form)
        self._packing = Packing(self._form)

    def apply(self, x: Array, prescribed: NDArray[np.int64]) -> Array:
        """Return A x of each instance, for the present `values`.

        Args:
            x: (n, lanes).
            prescribed: Numbers of the prescribed degrees of freedom, whose rows and columns are
                those of the identity.

        Returns:
            (n, lanes).
        """
        for one, wide in self._wide:
            numbers = self.values[one]
            if isinstance(wide, fem.Constant):
                wide.value[:] = numbers.T.reshape(wide.value.shape)
            else:
                wide.x.array[:] = numbers.reshape(-1)
        inside = self._x.x.array.reshape(x.shape)
        inside[:] = x
        inside[prescribed] = 0
        product: Array = np.zeros_like(inside)
        fem.assemble_vector(product.reshape(-1), self._form, coeffs=self._packing())
        product[prescribed] = x[prescribed]
        return product


def are_components(space: fem.FunctionSpace, coefficients: Sequence[Coefficient]) -> bool:
    """Return whether functions of several instances can be the components of one function. Serial.

    Args:
        space: The space of the solution.
        coefficients: Functions and Constants.
    """
    functions = (one for one in coefficients if isinstance(one, fem.Function))
    spaces = [space, *(function.function_space for function in functions)]
    # `GroupValues` of several lanes are real.
    return default_scalar_type is np.float64 and all(
        one.ufl_element().reference_value_size == 1
        and np.array_equal(_widened(one, WIDTH).dofmap.list, one.dofmap.list)
        for one in spaces
    )


def _widened(space: fem.FunctionSpace, lanes: int) -> fem.FunctionSpace:
    """Return the space of vectors with so many components in a space of scalars."""
    element: Any = space.ufl_element()
    return fem.functionspace(space.mesh, basix.ufl.blocked_element(element, shape=(lanes,)))


def _widen(one: Coefficient, lanes: int) -> Coefficient:
    """Return a coefficient whose components are those of several instances."""
    if isinstance(one, fem.Constant):
        shape = (lanes, *one.value.shape)
        return fem.Constant(one.ufl_domain(), np.zeros(shape, one.value.dtype))
    return fem.Function(_widened(one.function_space, lanes))
