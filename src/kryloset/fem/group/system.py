# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The linear systems of a group, as solvers take them."""

from collections.abc import Callable

from petsc4py import PETSc

import numpy as np

from kryloset.fem.group.matrix import GroupMatrix
from kryloset.fem.group.operator import activate, make_operator
from kryloset.fem.group.recurrence import Recurrence, Stepping, find_recurrence
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.fem.group.vector import GroupVector
from kryloset.fem.linear_system import LinearSystem
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import zeros


class GroupSystem:
    """A and b of a weak form for all instances of a group, in storage that all groups share.

    The entries of lane l stand in column l. Lanes without an instance have the matrix of the
    first and the right-hand side 0.

    Attributes:
        values: Of the coefficients that change. Fill all lanes before `update`.
        operator: A: a Mat whose context is an `EnsembleMatrix`, or for one lane an AIJ matrix.
        rhs: b, interleaved: number i of lane l at i * lanes + l.
    """

    def __init__(
        self,
        system: LinearSystem,
        values: GroupValues,
        declare: Callable[[PETSc.Mat], None],
        stepping: Stepping | None = None,
    ) -> None:
        """Compile the kernels and make the storage.

        Args:
            system: The system of one instance, which has been assembled at least once.
            values: Of the coefficients that change.
            declare: Declares to PETSc what solvers may know of a matrix of the family.
            stepping: What changes from time step to time step, if there are any.
        """
        self.values = values
        self._system = system
        conditions, traits = system.boundary.conditions, system.traits
        self._matrix = GroupMatrix(system.weak.a, values, conditions, Pattern.of(system.matrix))
        if values.lanes > 1:
            self._matrix.leave_out_zeros()
        self._vector = GroupVector(system.weak.L, values)
        pattern = self._matrix.pattern
        self.operator, self._entries = make_operator(
            pattern, values.lanes, declare, constant=traits.constant
        )
        self._assembled = False
        self._b = zeros(pattern.rows, values.lanes)
        self.rhs = PETSc.Vec().createWithArray(self._b.reshape(-1), comm=PETSc.COMM_SELF)
        self._fixed = np.flatnonzero(system.boundary.prescribed)
        #: The prescribed values, what they add to b, and whether they change from step to step.
        self._prescribed = np.empty((len(self._fixed), values.lanes))
        self._lifted = np.zeros_like(self._b)
        self._moving = stepping is not None and system.boundary.depends_on(stepping)
        #: What b is in every lane, (n, 1), if it never changes.
        self._same: Numbers | None = None
        #: b for states that are zero, if it is made of products with them.
        self._first = self._b
        self._recurrence: Recurrence | None = None
        if stepping is not None and not self._moving:
            self._states = [values[state] for state in stepping.states]
            self._recurrence = find_recurrence(system.weak.L, stepping, values, self._fixed)

    def update(self, count: int, *, parameters: bool = True) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Fill A and b from the present values.

        Args:
            count: Number of instances; there may be more lanes.
            parameters: Whether parameters have changed, and not only what a time step changes.

        Returns:
            `operator` and `rhs`.
        """
        activate(self.operator, count)
        if parameters and not (self._system.traits.constant and self._assembled):
            self._assemble_matrix()
        if self._same is not None:
            self._b[:] = self._same
        elif self._recurrence is not None:
            self._step(self._recurrence, parameters)
        else:
            self._assemble_rhs(parameters)
            if self._system.constant_rhs:
                self._same = self._b[:, :1].copy()
        self._b[:, count:] = 0.0
        self.rhs.stateIncrease()
        return self.operator, self.rhs

    def solution(self, x: PETSc.Vec) -> Numbers:
        """Return the solutions, (n, lanes), orthogonal to the null space of A."""
        found: Numbers = x.array_r.reshape(self._b.shape)
        return self._remove_nullspace(found.copy()) if self._system.singular else found

    def guess_next(self, solution: Numbers, before: Numbers) -> None:
        """Let the next solve of a time step begin from the extrapolation of two states.

        A factor for all lanes needs no guess: it solves by one application in any case.

        Args:
            solution: (n, lanes), the last state.
            before: (n, lanes), the state before.
        """
        ensemble = ensemble_of(self.operator)
        if ensemble is None or ensemble.constant:
            return
        if ensemble.guess is None:
            ensemble.guess = zeros(*solution.shape)
        np.multiply(solution, 2.0, out=ensemble.guess)
        ensemble.guess -= before

    def _assemble_matrix(self) -> None:
        if self._entries.shape[1] < self.values.lanes:
            entries = zeros(len(self._entries), self.values.lanes)
            self._matrix.update(entries)
            self._entries[:] = entries[:, :1]
        else:
            self._matrix.update(self._entries)
        self.operator.assemble()
        self._assembled = True

    def _assemble_rhs(self, parameters: bool) -> None:
        boundary, b = self._system.boundary, self._b
        self._vector.update(b)
        if boundary.homogeneous:
            b[self._fixed] = 0.0
        else:
            if parameters or self._moving:
                self._lift()
            b += self._lifted
            b[self._fixed] = self._prescribed
        if self._system.singular:
            self._remove_nullspace(b)

    def _lift(self) -> None:
        """Find the prescribed values, and what they add to the right-hand sides."""
        prescribed = self._system.boundary.of_lanes(self.values)
        self._prescribed = prescribed[self._fixed]
        self._lifted[:] = 0.0
        self._matrix.lift(prescribed, self._lifted)

    def _step(self, recurrence: Recurrence, parameters: bool) -> None:
        """Fill b by products with the previous states."""
        if parameters:
            held = [state.copy() for state in self._states]
            for state in self._states:
                state[:] = 0.0
            self._assemble_rhs(parameters)
            self._first = self._b.copy()
            for state, numbers in zip(self._states, held, strict=True):
                state[:] = numbers
            recurrence.update()
        recurrence.compute(self._first, self._b)
        if self._system.singular:
            self._remove_nullspace(self._b)

    @staticmethod
    def _remove_nullspace(x: Numbers) -> Numbers:
        """Subtract the mean of each lane, in place."""
        # NumPy's own mean along the first axis takes several times as long.
        x -= np.full(len(x), 1 / len(x)) @ x
        return x
