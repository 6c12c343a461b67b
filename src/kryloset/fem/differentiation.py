# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Transposed derivatives of assembled vectors, without a matrix. Serial."""

import numpy as np
import ufl
from dolfinx import fem

from kryloset.problems.base import Array


class PullBack:
    """(dr/du)^T w of the vector r of a linear form that depends on a function u.

    With w as a function in place of the test function, the form is the number r.w, whose derivative
    by u is a linear form again. UFL differentiates it, and DOLFINx assembles it as a vector.
    """

    def __init__(self, form: ufl.Form, by: fem.Function, weights: fem.Function) -> None:
        """Compile the derivative.

        Args:
            form: Of r.
            by: u.
            weights: w, whose values are set before each call.
        """
        test = ufl.TestFunction(by.function_space)
        number = ufl.action(ufl.algorithms.expand_derivatives(form), weights)
        derivative = ufl.derivative(number, by, test)
        nothing = ufl.algorithms.expand_derivatives(derivative).empty()
        self._form = None if nothing else fem.form(derivative)
        self._none = np.zeros_like(by.x.array)

    def __call__(self) -> Array:
        """Return the vector at the present values of all functions."""
        found: Array = self._none.copy()
        if self._form is not None:
            fem.assemble_vector(found, self._form)
        return found
