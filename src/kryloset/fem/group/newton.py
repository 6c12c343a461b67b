# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Newton's method for all instances of a group, until the last has converged."""

from collections.abc import Callable

from petsc4py import PETSc

import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.errors import KrylosetError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.group.matrix import GroupMatrix
from kryloset.fem.group.operator import activate, make_operator
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.fem.group.vector import GroupVector
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import norms_of, zeros

DECREASE = 1e-4
"""A step of length s is taken if it reduces ||F|| by this fraction of s, as in PETSc's line search
(L. Armijo, Pacific J. Math. 16, 1966). Otherwise it is halved."""

HALVINGS = 40
"""Times that a step is halved at most."""


class GroupNewton:
    """Solves F(u) = 0 for each lane, from u = 0.

    A lane that has converged keeps its u: the right-hand sides of its further steps are 0.

    Attributes:
        values: Of the coefficients that change, u among them. Fill all lanes before `solve`.
        relative: ||F(u)|| / ||F(0)|| of each instance of the last group.
    """

    def __init__(
        self,
        residual: ufl.Form,
        jacobian: ufl.Form,
        u: fem.Function,
        boundary: BoundaryValues,
        template: PETSc.Mat,
        declare: Callable[[PETSc.Mat], None],
        values: GroupValues,
    ) -> None:
        """Compile the kernels and make the storage.

        Args:
            residual: F.
            jacobian: Its derivative.
            u: The unknown.
            boundary: The prescribed values.
            template: A matrix of the Jacobian's pattern, which has been assembled.
            declare: Declares to PETSc what solvers may know of a Jacobian.
            values: Of the coefficients that change, u among them.
        """
        self.values, self.relative = values, list[float]()
        self._boundary = boundary
        pattern = Pattern.of(template)
        self._residual = GroupVector(residual, values)
        self._jacobian = GroupMatrix(jacobian, values, boundary.conditions, pattern)
        self._operator, self._entries = make_operator(pattern, values.lanes, declare)
        self._u = values[u]
        self._b = zeros(pattern.rows, values.lanes)
        self._rhs = PETSc.Vec().createWithArray(self._b.reshape(-1), comm=PETSc.COMM_SELF)
        self._fixed = np.flatnonzero(boundary.prescribed)

    def solve(
        self,
        count: int,
        solve: Callable[[PETSc.Mat, PETSc.Vec], PETSc.Vec],
        *,
        tolerance: float,
        margin: float,
        steps: int,
    ) -> Numbers:
        """Return u of each lane, (n, lanes).

        Args:
            count: Number of instances; there may be more lanes.
            solve: Solves the systems of a step.
            tolerance: Largest ||F(u)|| / ||F(0)|| of a solution.
            margin: Fraction of the tolerance at which a lane has converged.
            steps: Largest number of steps.

        Raises:
            KrylosetError: A lane did not converge.
        """
        u, b = self._u, self._b
        prescribed = self._boundary.of_lanes(self.values)
        u[:] = 0.0
        f = self._compute(prescribed)
        first = norms = norms_of(f)
        taken = 0
        while (going := self._going(norms, first, margin * tolerance, count)).any():
            if taken == steps:
                break
            taken += 1
            activate(self._operator, count, ~going)
            self._jacobian.update(self._entries)
            self._operator.assemble()
            b[:] = np.where(going, f, 0.0)
            self._rhs.stateIncrease()
            step = solve(self._operator, self._rhs).array_r.reshape(b.shape)
            found = self._search(step, prescribed, going, norms)
            if found is None:
                break
            f, norms = found
        self.relative = (norms / np.where(first > 0, first, 1.0))[:count].tolist()
        worst = max(self.relative, key=lambda size: (size != size, size))
        if not worst <= tolerance:
            raise KrylosetError(
                f"Newton's method stopped with the relative residual {worst:.2e} after {taken} "
                f"steps, above the tolerance {tolerance:g}: try a milder nonlinearity, a finer "
                "mesh or a larger solver.tolerance"
            )
        return u

    @staticmethod
    def _going(norms: Numbers, first: Numbers, target: float, count: int) -> NDArray[np.bool_]:
        """Return which lanes have not converged; one with a NaN has not."""
        going = ~(norms <= target * first)
        going[count:] = False
        return going

    def _search(
        self, step: Numbers, prescribed: Numbers, going: NDArray[np.bool_], norms: Numbers
    ) -> tuple[Numbers, Numbers] | None:
        """Subtract the step, or a part of it, from u of the lanes that go on.

        Returns:
            F and its norms there; None if no part of the step is good enough for a lane.
        """
        before, length = self._u.copy(), going.astype(np.float64)
        for _ in range(HALVINGS):
            self._u[:] = before - length * step
            f = self._compute(prescribed)
            after = norms_of(f)
            worse = going & ~(after <= (1.0 - DECREASE * length) * norms)
            if not worse.any():
                return f, np.where(going, after, norms)
            length[worse] *= 0.5
        return None

    def _compute(self, prescribed: Numbers) -> Numbers:
        """Return F(u), with u - g where u = g is prescribed, (n, lanes)."""
        f = np.empty_like(self._b)
        self._residual.update(f)
        excess = np.zeros_like(f)
        excess[self._fixed] = self._u[self._fixed] - prescribed[self._fixed]
        if excess.any():
            self._jacobian.lift(excess, f)
        f[self._fixed] = excess[self._fixed]
        return f
