# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The right-hand sides of a group."""

import ufl
from dolfinx import fem

from kryloset.fem.group.form import GroupIntegral, make_form
from kryloset.fem.group.values import GroupValues, Numbers


class GroupVector:
    """A linear form of a group, without conditions.

    If the form has no kernels with lanes, DOLFINx assembles one vector after another.
    """

    def __init__(self, form: ufl.Form, values: GroupValues) -> None:
        """Find the degrees of freedom.

        Args:
            form: A linear form.
            values: Those of the coefficients that change.
        """
        self._compiled, self._values = fem.form(form), values
        self._form = make_form(form, self._compiled, values)
        self._integrals: list[GroupIntegral] = []
        if self._form is not None:
            self._integrals = [GroupIntegral(self._form, each) for each in self._form.entities]

    def update(self, b: Numbers) -> None:
        """Set all vectors, (n, lanes), from the present values."""
        if self._form is None:
            for lane in range(self._values.lanes):
                self._values.give(lane)
                b[:, lane] = fem.assemble_vector(self._compiled).array
            return
        b[:] = 0
        self._form.read_constants()
        for integral in self._integrals:
            integral.add(integral.dofs[0], b)
