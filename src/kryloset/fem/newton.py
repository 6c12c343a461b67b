# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a nonlinear steady family, by Newton's method."""

from collections.abc import Callable

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.errors import KrylosetError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.domain import make_domain
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.forgotten import find_forgotten
from kryloset.fem.form_checks import read_weak_form
from kryloset.fem.lattices import declare_interpolations
from kryloset.fem.linear_system import declare_traits, make_map
from kryloset.fem.nullspace import check_constants
from kryloset.krylov.scaling import norm_of_vector
from kryloset.problems.base import Array, Discretisation, Instance, Solve
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import NonlinearFamily, NonlinearForm

#: Newton's method is asked for this fraction of the tolerance, so that the residual holds
#: it where it is computed again.
_MARGIN = 0.5

#: Steps after which Newton's method gives up; where it converges it needs less than ten.
_STEPS = 50


class _Handed:
    """A KSP that hands every linear system to the caller's solver.

    Attributes:
        fault: What that raised. An exception that passed through PETSc would leave its
            vectors locked, so the KSP diverges instead, which ends the SNES.
    """

    def __init__(self, solve: Solve, examine: Callable[[PETSc.Mat], None]) -> None:
        self._solve = solve
        self._examine = examine
        self.fault: BaseException | None = None

    def solve(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """Solve one Newton step's system."""
        try:
            operator = ksp.getOperators()[0]
            self._examine(operator)
            self._solve(operator, b).copy(x)
        except BaseException as error:
            self.fault = error
            ksp.setConvergedReason(PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN)
        else:
            ksp.setConvergedReason(PETSc.KSP.ConvergedReason.CONVERGED_RTOL)


class NewtonDiscretisation(Discretisation):
    """PETSc's SNES, whose linear systems are solved by the caller's solver.

    Attributes:
        elements: Mesh, space and parameters.
        matrix: The Jacobian, refilled for each step.
    """

    def __init__(self, family: NonlinearFamily, comm: MPI.Comm) -> None:
        """Build everything that the instances and their Newton steps share."""
        self._family = family
        self._examined = False
        self.elements = FiniteElements(family, make_domain(family, comm))
        space = self.elements.space
        self._u = fem.Function(space)
        weak = read_weak_form(family, NonlinearForm, space, self.elements.parameters, self._u)
        with blamed(family, "weak_form"):
            self._boundary = BoundaryValues(space, weak.boundary)
            self._f = fem.form(weak.F)
            jacobian = ufl.derivative(weak.F, self._u, ufl.TrialFunction(space))
            self._j = fem.form(jacobian)
        self._weak = weak
        changing = [*self.elements.changing, self._u]
        self._map = make_map(jacobian, changing, family.operator, self._boundary.conditions)
        if self._map is None:
            self.matrix = dolfinx.fem.petsc.create_matrix(self._j)
        else:
            self.matrix = self._map.matrix
        declare_traits(self.matrix, family.operator)
        declare_interpolations(self.matrix, self.elements, self._boundary)
        self._x, self._rhs = (dolfinx.fem.petsc.create_vector(space) for _ in range(2))
        self._relative: float | None = None
        self._snes = PETSc.SNES().create(comm)
        self._snes.setType("newtonls")
        self._snes.setFunction(self._compute_residual, self._rhs)
        self._snes.setJacobian(self._compute_jacobian, self.matrix)
        self._snes.getKSP().setType("python")
        # Else PETSc would set up a preconditioner that nothing uses.
        self._snes.getKSP().getPC().setType("none")

    def solve(self, instance: Instance, solve: Solve) -> dict[str, Array]:
        """Run Newton's method from u = 0.

        Raises:
            KrylosetError: It did not converge.
        """
        self.elements.set_parameters(instance)
        self._boundary.update()
        snes = self._snes
        handed = _Handed(solve, self._examine)
        snes.getKSP().setPythonContext(handed)
        snes.setTolerances(rtol=_MARGIN * solve.tolerance, atol=0.0, stol=0.0, max_it=_STEPS)
        self._x.set(0.0)
        snes.solve(None, self._x)
        if handed.fault is not None:
            raise handed.fault
        self._relative = self._relative_norm_at(self._x)
        if not self._relative <= solve.tolerance:
            raise KrylosetError(
                f"Newton's method stopped with the relative residual {self._relative:.2e} after "
                f"{snes.getIterationNumber()} steps, above the tolerance {solve.tolerance:g} "
                f"(SNES reason {snes.getConvergedReason()}): a milder nonlinearity, a finer mesh "
                "or a larger solver.tolerance may help"
            )
        return self.elements.write(self._x.array_r)

    def nonlinear_residual(self) -> float | None:
        """Return ||F(u)|| / ||F(0)|| of the instance solved last."""
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

    def resample(self, points: int, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate parameters and fields on another grid."""
        return self.elements.resample(points, instance, solution)

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate the fields that are not nodal again."""
        return self.elements.evaluate(solution)

    def forgotten(self) -> list[str]:
        """Return the parameters that change no solution."""
        parameters, weak = self.elements.parameters, self._weak
        return find_forgotten(self._family, parameters, weak[:1], weak.boundary)

    def meshes(self) -> dict[str, Array]:
        """Return nodes and cells."""
        return self.elements.meshes

    def masks(self) -> dict[int | None, NDArray[np.int8]]:
        """Return the masks of the domain."""
        return self.elements.masks

    def _examine(self, operator: PETSc.Mat) -> None:
        if not self._examined:
            check_constants(self._family, operator, self.elements, self._boundary)
            self._examined = True

    def _relative_norm_at(self, x: PETSc.Vec) -> float:
        zero, residual = self._x.duplicate(), self._rhs.duplicate()
        norms = []
        for point in (zero, x):
            self._compute_residual(self._snes, point, residual)
            norms.append(norm_of_vector(residual))
        # Where F(0) = 0, u = 0 is the solution, and nothing else is near in a relative sense.
        return norms[1] / norms[0] if norms[0] else norms[1]

    def _compute_residual(self, _: PETSc.SNES, x: PETSc.Vec, residual: PETSc.Vec) -> None:
        """Compute F(u), and u - g where u = g is prescribed."""
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
        if self._map is not None:
            self._map.update()
            return
        matrix.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(matrix, self._j, bcs=self._boundary.conditions)
        matrix.assemble()

    def _set(self, x: PETSc.Vec) -> None:
        owned = x.array_r
        self._u.x.array[: len(owned)] = owned
        self._u.x.scatter_forward()
