# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The linear system of a weak form, in storage that all instances share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from petsc4py import PETSc

import dolfinx.fem.petsc
import dolfinx.la
import numpy as np
import scipy.sparse
import ufl
from dolfinx import fem

from kryloset.errors import ConfigError
from kryloset.fem.affine import AffineMatrix, AffineStep, AffineVector
from kryloset.fem.boundary import BoundaryValues
from kryloset.krylov.scaling import norm_of
from kryloset.problems.base import Array, OperatorTraits
from kryloset.problems.finite_element import Step, WeakForm


class LinearSystem:
    """A and b of a weak form, with one matrix and one vector for all instances.

    What does not change is assembled once, so that PETSc keeps a factor until the matrix changes.
    Rows and columns of prescribed degrees of freedom are those of the identity.

    Attributes:
        weak: The forms.
        traits: What is known of the operator.
        matrix: A.
        rhs: b.
        boundary: The prescribed values.
        constant_rhs: Whether b is the same for all instances.
    """

    def __init__(
        self,
        space: fem.FunctionSpace,
        weak: WeakForm,
        traits: OperatorTraits,
        changing: Sequence[Any],
        step: Step | None = None,
    ) -> None:
        """Compile the forms and make the storage.

        Args:
            space: The space of the solution.
            weak: The forms.
            traits: What is known of the operator.
            changing: Functions and Constants whose values change.
            step: The states and the time of a time step; None for a steady problem.

        Raises:
            ConfigError: The forms do not have the declared `traits`.
        """
        self.weak, self.traits = weak, traits
        self.boundary = BoundaryValues(space, weak.boundary)
        conditions = self.boundary.conditions
        coefficients = _among((*weak.a.coefficients(), *weak.a.constants()), changing)
        if traits.constant and coefficients:
            raise ConfigError(
                "the operator is declared constant, but its form has parameters: remove "
                "constant=True from its OperatorTraits"
            )
        self._a = fem.form(weak.a)
        self._assembled = False
        self._map = make_map(weak.a, coefficients, traits, conditions)
        if self._map is None:
            self.matrix = dolfinx.fem.petsc.create_matrix(self._a)
        else:
            self.matrix = self._map.matrix
        self._nullspace: PETSc.NullSpace | None = None
        self._near_nullspace: PETSc.NullSpace | None = None
        if traits.nullspace == "constants":
            self._nullspace = PETSc.NullSpace().create(constant=True, comm=self.matrix.comm)
        if traits.near_nullspace == "rigid body motions":
            self._near_nullspace = rigid_body_motions(space)
        self.declare(self.matrix)

        self._l = fem.form(weak.L)
        sources = _among((*weak.L.coefficients(), *weak.L.constants()), changing)
        self.constant_rhs = not sources and self.boundary.homogeneous
        self._rhs_assembled = False
        self._rhs_map = None
        # With a constant operator, one product lifts prescribed values; otherwise each cell does.
        self._lifts_at_once = traits.constant and not self.boundary.homogeneous
        self._lifting: tuple[PETSc.Mat, PETSc.Vec, PETSc.Vec] | None = None
        self._step: AffineStep | None = None
        if traits.affine_rhs and step is not None:
            with _refused("the right-hand side", "previous states"):
                self._step = AffineStep(weak.L, step, sources)
        elif traits.affine_rhs and sources and (self.boundary.homogeneous or self._lifts_at_once):
            with _refused("the right-hand side"):
                self._rhs_map = AffineVector(weak.L, sources, space, conditions)
        if self._rhs_map is None:
            self.rhs = dolfinx.fem.petsc.create_vector(space)
        else:
            self.rhs = self._rhs_map.vector

    def declare(self, matrix: PETSc.Mat) -> None:
        """Declare to PETSc what is known of A, of a matrix with its numbers."""
        declare_traits(matrix, self.traits)
        if self._nullspace is not None:
            matrix.setNullSpace(self._nullspace)
        if self._near_nullspace is not None:
            matrix.setNearNullSpace(self._near_nullspace)

    def update(
        self, *, parameters: bool = True, products: bool = True
    ) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Fill A and b from the present values of the parameters. Collective.

        Args:
            parameters: Whether parameters have changed, and not only what a time step changes.
            products: Whether b may be computed by products with the previous states. A check
                assembles the form instead.

        Returns:
            `matrix` and `rhs`.
        """
        if parameters and not (self.traits.constant and self._assembled):
            self._assemble_matrix()
        if not (self.constant_rhs and self._rhs_assembled):
            self._assemble_rhs(self._step if products else None, parameters)
        return self.matrix, self.rhs

    @property
    def singular(self) -> bool:
        """Whether A maps constants to zero."""
        return self._nullspace is not None

    def remove_nullspace(self, vector: PETSc.Vec) -> PETSc.Vec:
        """Make a vector orthogonal to the null space of A, in place, and return it."""
        if self._nullspace is not None:
            self._nullspace.remove(vector)
        return vector

    def residual(self, x: Array) -> float:
        """Return ||b - A x|| / ||b|| of the present A and b, without PETSc's product. Serial."""
        rows, columns, entries = self.matrix.getValuesCSR()
        operator = scipy.sparse.csr_array((entries, columns, rows), shape=self.matrix.size)
        b = self.rhs.array_r[: operator.shape[0]]
        norm = norm_of(b)
        difference = norm_of(b - operator @ x[: operator.shape[0]])
        # For b = 0 the solution is x = 0, and no other x has a small relative residual.
        return difference / norm if norm else difference

    def _assemble_matrix(self) -> None:
        if self._map is not None:
            self._map.update()
        else:
            self.matrix.zeroEntries()
            dolfinx.fem.petsc.assemble_matrix(self.matrix, self._a, bcs=self.boundary.conditions)
            self.matrix.assemble()
        self._assembled = True

    def _assemble_rhs(self, step: AffineStep | None, parameters: bool) -> None:
        self._rhs_assembled = True
        conditions = self.boundary.conditions
        self.boundary.update()
        if self._rhs_map is not None:
            self._rhs_map.update()
        else:
            with self.rhs.localForm() as local:
                local.set(0)
            if step is not None:
                step.fill(self.rhs, parameters=parameters)
            else:
                dolfinx.fem.petsc.assemble_vector(self.rhs, self._l)
            if not self.boundary.homogeneous and not self._lifts_at_once:
                dolfinx.fem.petsc.apply_lifting(self.rhs, [self._a], [conditions])
            self.rhs.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        if self._lifts_at_once:
            self._subtract_prescribed()
        if not self.boundary.homogeneous or self._rhs_map is None:
            dolfinx.fem.petsc.set_bc(self.rhs, conditions)
        self.remove_nullspace(self.rhs)

    def _subtract_prescribed(self) -> None:
        """Subtract A g, with A before conditions and g the prescribed values, zero elsewhere."""
        if self._lifting is None:
            unconstrained = dolfinx.fem.petsc.assemble_matrix(self._a)
            unconstrained.assemble()
            self._lifting = unconstrained, self.rhs.duplicate(), self.rhs.duplicate()
        unconstrained, prescribed, product = self._lifting
        prescribed.set(0)
        dolfinx.fem.petsc.set_bc(prescribed, self.boundary.conditions)
        unconstrained.mult(prescribed, product)
        self.rhs.axpy(-1.0, product)


def make_map(
    form: ufl.Form,
    coefficients: Sequence[Any],
    traits: OperatorTraits,
    conditions: Sequence[fem.DirichletBC],
) -> AffineMatrix | None:
    """Return the sparse map that fills the matrix, if its traits allow one. Collective.

    Raises:
        ConfigError: The form does not have the declared `traits`.
    """
    if not (traits.affine or traits.quadratic):
        return None
    with _refused("the operator", quadratic=traits.quadratic):
        return AffineMatrix(form, coefficients, conditions, quadratic=traits.quadratic)


def declare_traits(matrix: PETSc.Mat, traits: OperatorTraits) -> None:
    """Declare symmetry and definiteness to PETSc, for all values that the matrix will have."""
    if traits.symmetric:
        matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        matrix.setOption(PETSc.Mat.Option.SYMMETRY_ETERNAL, True)
    if traits.symmetric and traits.definite:
        matrix.setOption(PETSc.Mat.Option.SPD, True)


def rigid_body_motions(space: fem.FunctionSpace) -> PETSc.NullSpace:
    """Return the translations and rotations of a space of displacements, orthonormal.

    Algebraic multigrid needs them to be fast for elasticity (Vanek, Mandel, Brezina, Computing
    56, 1996).
    """
    dimension = space.mesh.geometry.dim
    motions = [lambda x, i=i: np.eye(dimension)[i][:, None] + 0 * x[:1] for i in range(dimension)]
    for i in range(dimension):
        for j in range(i):

            def rotation(x: Array, i: int = i, j: int = j) -> Array:
                turned = np.zeros((dimension, x.shape[1]))
                turned[i], turned[j] = x[j], -x[i]
                return turned

            motions.append(rotation)
    basis = []
    for motion in motions:
        function = fem.Function(space)
        function.interpolate(motion)
        basis.append(function.x)
    dolfinx.la.orthonormalize(basis)
    return PETSc.NullSpace().create(vectors=[dolfinx.la.petsc.create_vector_wrap(v) for v in basis])


@contextmanager
def _refused(what: str, by: str = "parameters", *, quadratic: bool = False) -> Iterator[None]:
    """Name the declared trait that a form does not have."""
    try:
        yield
    except ValueError as error:
        kind = "quadratic" if quadratic else "affine"
        raise ConfigError(
            f"{what} is declared {kind} in the {by}: {error}; remove the declaration from its "
            "OperatorTraits, or mend the form"
        ) from error


def _among(found: Sequence[Any], changing: Sequence[Any]) -> list[Any]:
    """Return those that change, compared by identity, since `==` of UFL makes an expression."""
    return [item for item in found if any(item is other for other in changing)]
