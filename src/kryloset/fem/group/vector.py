# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The right-hand sides of a group."""

import ufl

from kryloset.fem.group.form import GroupForm, GroupIntegral
from kryloset.fem.group.values import GroupValues, Numbers


class GroupVector:
    """A linear form of a group, without conditions."""

    def __init__(self, form: ufl.Form, values: GroupValues) -> None:
        """Find the degrees of freedom.

        Args:
            form: A linear form.
            values: Those of the coefficients that change.

        Raises:
            NotImplementedError: Something of the form or of its mesh has no lanes.
            OSError: There is no C compiler, or it fails.
        """
        self._form = GroupForm(form, values)
        self._integrals = [GroupIntegral(self._form, each) for each in self._form.entities]

    def update(self, b: Numbers) -> None:
        """Set all vectors, (n, lanes), from the present values."""
        b[:] = 0
        self._form.read_constants()
        for integral in self._integrals:
            integral.add(integral.dofs[0], b)
