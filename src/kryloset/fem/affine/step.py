# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Right-hand sides of time steps by sparse products, if they are affine in the previous states."""

from collections.abc import Sequence
from typing import Any

from petsc4py import PETSc

import dolfinx.fem.petsc
import ufl
from dolfinx import fem

from kryloset.fem.affine.comparison import check_agreement, random_values
from kryloset.problems.finite_element import Step


class AffineStep:
    r"""$b = \sum_l B_l u^{n-l} + c(t)$, with matrices $B_l$ that an instance keeps.

    $B_l$ is the derivative of the linear form by the state $u^{n-l}$, and c is the form with all
    states zero. Both are assembled once for each instance; c is assembled in each step if it
    depends on the time. Dirichlet conditions are not applied here.
    """

    def __init__(self, form: ufl.Form, step: Step, changing: Sequence[Any]) -> None:
        """Differentiate the form, and compare b with an ordinary assembly. Collective.

        Args:
            form: The linear form of a step.
            step: Its states and its time.
            changing: All Functions and Constants whose values change.

        Raises:
            ValueError: The form is not affine in the states, or a derivative depends on the time.
        """
        space = form.arguments()[0].ufl_function_space()
        trial, zero = ufl.TrialFunction(space), fem.Function(space)
        self._products: list[tuple[fem.Form, PETSc.Mat, PETSc.Vec]] = []
        for state in step.previous:
            by_state = ufl.algorithms.expand_derivatives(ufl.derivative(form, state, trial))
            if by_state.empty():
                continue
            found = [*by_state.coefficients(), *by_state.constants()]
            if any(item is other for item in found for other in (*step.previous, step.time)):
                raise ValueError(
                    "its derivative by a previous state depends on the states or on the time"
                )
            compiled = fem.form(by_state)
            matrix = dolfinx.fem.petsc.create_matrix(compiled)
            values = dolfinx.la.petsc.create_vector_wrap(state.x)
            self._products.append((compiled, matrix, values))
        rest = ufl.replace(form, dict.fromkeys(step.previous, zero))
        self._rest = fem.form(rest)
        self._moving = any(constant is step.time for constant in rest.constants())
        self._c = dolfinx.fem.petsc.create_vector(space)
        with random_values(changing):
            reference = dolfinx.fem.petsc.assemble_vector(fem.form(form))
            reference.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
            norm, b = reference.norm(), reference.duplicate()
            self.fill(b, parameters=True)
            reference.axpy(-1.0, b)
            check_agreement(reference.norm(), norm)
            reference.destroy()
            b.destroy()

    def fill(self, b: PETSc.Vec, *, parameters: bool) -> None:
        """Set what this process owns of b, from the present states and time. Collective.

        Args:
            b: A vector of the space.
            parameters: Whether anything but states and time has changed since the last call.
        """
        if parameters:
            for form, matrix, _ in self._products:
                matrix.zeroEntries()
                dolfinx.fem.petsc.assemble_matrix(matrix, form)
                matrix.assemble()
        if parameters or self._moving:
            with self._c.localForm() as local:
                local.set(0)
            dolfinx.fem.petsc.assemble_vector(self._c, self._rest)
            self._c.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        self._c.copy(b)
        for _, matrix, state in self._products:
            # The vector shares the Function's numbers; this tells PETSc that they have changed.
            state.stateIncrease()
            matrix.multAdd(state, b, b)
