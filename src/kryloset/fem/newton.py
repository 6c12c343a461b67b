# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a nonlinear steady family, by Newton's method."""

from collections.abc import Callable, Sequence
from functools import cached_property

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem

from kryloset.errors import KrylosetError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.differentiation import PullBack
from kryloset.fem.domain import make_domain
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.form_checks import read_weak_form
from kryloset.fem.group import GroupValues
from kryloset.fem.group.newton import GroupNewton
from kryloset.fem.lattices import declare_interpolations
from kryloset.fem.linear_system import declare_traits
from kryloset.fem.shared_mesh import SharedMeshDiscretisation
from kryloset.krylov.scaling import norm_of_vector
from kryloset.problems.base import Array, Instance, Solve
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import NonlinearFamily, NonlinearForm

#: Fraction of the tolerance that Newton's method solves to, so that the residual is below the
#: tolerance when it is computed again.
_MARGIN = 0.5

#: Largest number of Newton steps. Where the method converges it needs fewer than ten.
_STEPS = 50


class _CallersSolver:
    """A KSP that passes each linear system to the caller's solver.

    Attributes:
        error: The exception that the solver raised. If it passed through PETSc, it would leave
            vectors locked. Instead the KSP diverges, which ends the SNES.
    """

    def __init__(self, solve: Solve, examine: Callable[[PETSc.Mat], None]) -> None:
        self._solve = solve
        self._examine = examine
        self.error: BaseException | None = None

    def solve(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """Solve one Newton step's system."""
        try:
            operator = ksp.getOperators()[0]
            self._examine(operator)
            self._solve(operator, b).copy(x)
        except BaseException as error:
            self.error = error
            ksp.setConvergedReason(PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN)
        else:
            ksp.setConvergedReason(PETSc.KSP.ConvergedReason.CONVERGED_RTOL)


class NewtonDiscretisation(SharedMeshDiscretisation):
    """PETSc's SNES, with the caller's solver for its linear systems.

    Attributes:
        matrix: The Jacobian, assembled again for each step.
    """

    def __init__(self, family: NonlinearFamily, comm: MPI.Comm) -> None:
        """Build what the instances and their Newton steps share."""
        elements = FiniteElements(family, make_domain(family, comm))
        space = elements.space
        self._u = fem.Function(space)
        weak = read_weak_form(family, NonlinearForm, space, elements.parameters, self._u)
        with blamed(family, "weak_form"):
            self._boundary = BoundaryValues(space, weak.boundary)
            self._f = fem.form(weak.F)
            jacobian = ufl.derivative(weak.F, self._u, ufl.TrialFunction(space))
            self._j = fem.form(jacobian)
        self._forms = weak.F, jacobian
        self.matrix = dolfinx.fem.petsc.create_matrix(self._j)
        self._traits = family.operator
        super().__init__(elements, weak, self._boundary)
        self._declare(self.matrix)
        self._x, self._rhs = (dolfinx.fem.petsc.create_vector(space) for _ in range(2))
        self._relative: list[float] = []
        self._groups: dict[int, GroupNewton] = {}
        self._snes = PETSc.SNES().create(comm)
        self._snes.setType("newtonls")
        self._snes.setFunction(self._compute_residual, self._rhs)
        self._snes.setJacobian(self._compute_jacobian, self.matrix)
        self._snes.getKSP().setType("python")
        # Otherwise PETSc would set up a preconditioner that nothing uses.
        self._snes.getKSP().getPC().setType("none")

    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Run Newton's method from u = 0.

        Raises:
            KrylosetError: It did not converge.
        """
        if self.with_kernels:
            return self._solve_group(instances, solve)
        (instance,) = instances
        self.elements.set_parameters(instance)
        self._boundary.update()
        snes = self._snes
        solver = _CallersSolver(solve, self.check_nullspace)
        snes.getKSP().setPythonContext(solver)
        snes.setTolerances(rtol=_MARGIN * solve.tolerance, atol=0.0, stol=0.0, max_it=_STEPS)
        self._x.set(0.0)
        snes.solve(None, self._x)
        if solver.error is not None:
            raise solver.error
        relative = self._relative_norm_at(self._x)
        if not relative <= solve.tolerance:
            raise KrylosetError(
                f"Newton's method stopped with the relative residual {relative:.2e} after "
                f"{snes.getIterationNumber()} steps, above the tolerance {solve.tolerance:g} "
                f"(SNES reason {snes.getConvergedReason()}): try a milder nonlinearity, a finer "
                "mesh or a larger solver.tolerance"
            )
        self._relative = [relative]
        return self.with_parameters(instances, [self.elements.write(self._x.array_r)])

    def _solve_group(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Run Newton's method for all instances at once."""
        lanes = self.width(len(instances))
        if lanes not in self._groups:
            self.elements.set_parameters(instances[0])
            self._compute_jacobian(self._snes, self._x, self.matrix, self.matrix)
            values = GroupValues([*self.elements.changing, self._u], lanes)
            self._groups[lanes] = GroupNewton(
                *self._forms, self._u, self._boundary, self.matrix, self._declare, values
            )
        group = self._groups[lanes]
        self.elements.set_lanes(instances, group.values)

        def solve_checked(operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
            self.check_nullspace(operator)
            return solve(operator, rhs)

        u = group.solve(
            len(instances), solve_checked, tolerance=solve.tolerance, margin=_MARGIN, steps=_STEPS
        )
        self._relative = group.relative
        return self.with_parameters(instances, self.elements.write_lanes(u[:, : len(instances)]))

    def _declare(self, matrix: PETSc.Mat) -> None:
        """Declare to PETSc what is known of a Jacobian."""
        declare_traits(matrix, self._traits)
        declare_interpolations(matrix, self.elements, self._boundary)

    def nonlinear_residuals(self) -> list[float]:
        """Return ||F(u)|| / ||F(0)|| of each instance of the last group."""
        return self._relative

    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||F(u)|| / ||F(0)|| of a stored solution."""
        self.elements.set_parameters(instance)
        self._boundary.update()
        values = self._x.array_r.copy()
        self.elements.read(solution, values)
        x = self._x.duplicate()
        x.setArray(values)
        return self._relative_norm_at(x)

    def residual_vector(self, instance: Instance, u: Array) -> Array:
        """Return F(u), and u - g where u = g is prescribed, (n,): what `residual` measures. Serial.

        Args:
            instance: The parameters.
            u: Any unknowns, (n,).
        """
        self.elements.set_parameters(instance)
        self._boundary.update()
        x, residual = self._x.duplicate(), self._rhs.duplicate()
        x.setArray(u)
        self._compute_residual(self._snes, x, residual)
        found: Array = residual.array_r.copy()
        return found

    def pull_back(self, instance: Instance, weights: Array, u: Array) -> list[Array]:
        """Return (dr/du)^T w of the r that `residual_vector` returns. Serial.

        Where nothing is prescribed, r is F(u; v) + J(u; g - u, v): F as it would be, to first
        order, at the prescribed values. With J in it, r has second derivatives of F.

        Args:
            instance: The parameters.
            weights: w, (n,).
            u: Any unknowns, (n,).
        """
        prescribed = self._boundary.prescribed
        r = self.residual_vector(instance, u)
        w, lift, first, second = self._derivatives
        w.x.array[:] = np.where(prescribed, 0, weights)
        lift.x.array[:] = np.where(prescribed, -r, 0)
        return [np.where(prescribed, weights, first()) + second()]

    @cached_property
    def _derivatives(self) -> tuple[fem.Function, fem.Function, PullBack, PullBack]:
        """The weights w, g - u where it is prescribed, and the derivatives of F and J with them."""
        w, lift = (fem.Function(self.elements.space) for _ in range(2))
        form, jacobian = self._forms
        parts = form, ufl.action(jacobian, lift)
        return w, lift, *(PullBack(part, self._u, w) for part in parts)

    def _relative_norm_at(self, x: PETSc.Vec) -> float:
        zero, residual = self._x.duplicate(), self._rhs.duplicate()
        norms = []
        for point in (zero, x):
            self._compute_residual(self._snes, point, residual)
            norms.append(norm_of_vector(residual))
        # If F(0) = 0 then u = 0 is the solution, and no other u has a small relative residual.
        return norms[1] / norms[0] if norms[0] else norms[1]

    def _compute_residual(self, _: PETSc.SNES, x: PETSc.Vec, residual: PETSc.Vec) -> None:
        """Compute F(u), with u - g at degrees of freedom where u = g is prescribed."""
        self._set(x)
        conditions = self._boundary.conditions
        with residual.localForm() as local:
            local.set(0.0)
        dolfinx.fem.petsc.assemble_vector(residual, self._f)
        dolfinx.fem.petsc.apply_lifting(
            residual, [self._j], [conditions], x0=[self._u.x.petsc_vec], alpha=-1.0
        )
        residual.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(residual, conditions, x0=self._u.x.petsc_vec, alpha=-1.0)

    def _compute_jacobian(
        self, _: PETSc.SNES, x: PETSc.Vec, matrix: PETSc.Mat, __: PETSc.Mat
    ) -> None:
        self._set(x)
        matrix.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(matrix, self._j, bcs=self._boundary.conditions)
        matrix.assemble()

    def _set(self, x: PETSc.Vec) -> None:
        owned = x.array_r
        self._u.x.array[: len(owned)] = owned
        self._u.x.scatter_forward()
