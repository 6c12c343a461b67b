# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Right-hand sides of time steps as products of matrices with the previous states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray
from ufl.algorithms import expand_derivatives

from kryloset.fem.group.matrix import GroupMatrix
from kryloset.fem.group.operator import make_operator
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.fem.linear_system import reads
from kryloset.krylov.ensemble.matrix import EnsembleMatrix, ensemble_of
from kryloset.krylov.ensemble.pattern import Pattern


@dataclass(frozen=True)
class Stepping:
    """What changes from time step to time step: the previous states, the last first, and time."""

    states: Sequence[fem.Function]
    time: fem.Constant

    def __iter__(self) -> Iterator[fem.Function | fem.Constant]:
        """Go through all of it."""
        return iter((*self.states, self.time))


class Recurrence:
    """The products B_k u_k of a right-hand side b = b_0 + B_1 u_1 + B_2 u_2 + ...

    The u_k are the previous states. A product takes less time than the assembly of a vector.
    """

    def __init__(
        self,
        forms: Sequence[ufl.Form],
        states: Sequence[fem.Function],
        values: GroupValues,
        fixed: NDArray[np.int64],
    ) -> None:
        """Find the patterns.

        Args:
            forms: The bilinear forms of -B_k.
            states: The u_k.
            values: Of the coefficients that change, the states among them, with several lanes.
            fixed: Rows that are zero in B_k, since their numbers in b are prescribed.
        """
        self._parts: list[_Part] = []
        for form, state in zip(forms, states, strict=True):
            matrix = dolfinx.fem.petsc.assemble_matrix(fem.form(form))
            matrix.assemble()
            group = GroupMatrix(form, values, (), Pattern.of(matrix))
            group.leave_out_zeros()
            operator, _ = make_operator(group.pattern, values.lanes, lambda _: None)
            product = ensemble_of(operator)
            assert product is not None
            rows = np.repeat(np.arange(group.pattern.rows), np.diff(group.pattern.offsets))
            dropped = np.flatnonzero(np.isin(rows, fixed))
            self._parts.append(_Part(group, product, dropped, values[state]))

    def update(self) -> None:
        """Compute the matrices from the present parameters."""
        for part in self._parts:
            part.matrix.update(part.product.entries)
            part.product.entries[part.dropped] = 0.0

    def compute(self, first: Numbers, b: Numbers) -> None:
        """Set b (n, lanes) to b_0, which is `first`, and the products."""
        for part in self._parts:
            part.product.subtract(part.state, first, b)
            first = b


class _Part(NamedTuple):
    """One of the products: -B_k, its entries in prescribed rows, and u_k."""

    matrix: GroupMatrix
    product: EnsembleMatrix
    dropped: NDArray[np.int64]
    state: Numbers


def find_recurrence(
    form: ufl.Form,
    stepping: Stepping,
    values: GroupValues,
    fixed: NDArray[np.int64],
) -> Recurrence | None:
    """Return the products of a right-hand side, or None if it is not made of such.

    It must be an affine function of the states, and depend on the time through them alone.

    Args:
        form: A linear form.
        stepping: The previous states, and the time.
        values: Of the coefficients that change; with one lane there are no products.
        fixed: Rows whose numbers are prescribed.
    """
    states = stepping.states
    if values.lanes == 1 or reads(form, [stepping.time]):
        return None
    trial = ufl.TrialFunction(form.arguments()[0].ufl_function_space())
    found = {state: expand_derivatives(-ufl.derivative(form, state, trial)) for state in states}
    read = {state: part for state, part in found.items() if not part.empty()}
    if any(reads(part, states) for part in read.values()):
        return None
    return Recurrence(list(read.values()), list(read), values, fixed) if read else None
