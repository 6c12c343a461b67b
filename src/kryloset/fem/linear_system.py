# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The linear system of a weak form as DOLFINx assembles it, in storage that instances share."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from petsc4py import PETSc

import dolfinx.fem.petsc
import dolfinx.la
import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.errors import ConfigError
from kryloset.fem.action import WIDTH, Action, are_components
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.family_mesh import ends_of
from kryloset.fem.group.values import GroupValues
from kryloset.krylov.scaling import norm_of
from kryloset.problems.base import Array, OperatorTraits
from kryloset.problems.finite_element import WeakForm


class LinearSystem:
    """A and b of a weak form, with one matrix and one vector for all instances.

    It serves instances whose matrix is distributed or used once, and checks what groups solved:
    `kryloset.fem.group` assembles groups.

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
    ) -> None:
        """Compile the forms and make the storage.

        Args:
            space: The space of the solution.
            weak: The forms.
            traits: What is known of the operator.
            changing: Functions and Constants whose values change.

        Raises:
            ConfigError: The operator is declared constant, and its form is not.
        """
        self.weak, self.traits = weak, traits
        self._space, self._changing = space, changing
        self.boundary = BoundaryValues(space, weak.boundary)
        if traits.constant and reads(weak.a, changing):
            raise ConfigError(
                "the operator is declared constant, but its form has parameters: remove "
                "constant=True from its OperatorTraits"
            )
        self._a, self._l = fem.form(weak.a), fem.form(weak.L)
        self.matrix = dolfinx.fem.petsc.create_matrix(self._a)
        self.rhs = dolfinx.fem.petsc.create_vector(space)
        self._matrix_assembled = self._rhs_assembled = False
        self._nullspace: PETSc.NullSpace | None = None
        self._near_nullspace: PETSc.NullSpace | None = None
        if traits.nullspace == "constants":
            self._nullspace = PETSc.NullSpace().create(constant=True, comm=self.matrix.comm)
        if traits.near_nullspace == "rigid body motions":
            self._near_nullspace = rigid_body_motions(space)
        self.declare(self.matrix)
        self.constant_rhs = not reads(weak.L, changing) and self.boundary.homogeneous

    def declare(self, matrix: PETSc.Mat) -> None:
        """Declare to PETSc what is known of A, of a matrix with its numbers."""
        declare_traits(matrix, self.traits)
        matrix.setBlockSize(self.matrix.getBlockSize())
        if self._nullspace is not None:
            matrix.setNullSpace(self._nullspace)
        if self._near_nullspace is not None:
            matrix.setNearNullSpace(self._near_nullspace)

    def update(self, *, parameters: bool = True) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Fill A and b from the present values of the parameters. Collective.

        Args:
            parameters: Whether parameters have changed, and not only what a time step changes.

        Returns:
            `matrix` and `rhs`.
        """
        if parameters and not (self.traits.constant and self._matrix_assembled):
            self._assemble_matrix()
        if not (self.constant_rhs and self._rhs_assembled):
            self._assemble_rhs()
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
        """Return ||b - A x|| / ||b|| of the present parameters and b. Serial."""
        return self.residual_of(self.apply(x))

    def residual_of(self, product: Array) -> float:
        """Return ||b - A x|| / ||b|| of the present b and a product A x. Serial."""
        b = self.rhs.array_r
        norm, difference = norm_of(b), norm_of(b - product)
        # For b = 0 the solution is x = 0, and no other x has a small relative residual.
        return difference / norm if norm else difference

    def apply(self, x: Array) -> Array:
        """Return A x for the present parameters. Serial.

        It takes a fifth of the time of a matrix.
        """
        product: Array = self._action.apply(x[:, None], self._prescribed)[:, 0]
        return product

    def apply_lanes(self, x: Array) -> Array:
        """Return A x, (n, lanes), for the parameters in `lanes`. Serial."""
        assert self._actions is not None
        return self._actions.apply(x, self._prescribed)

    @property
    def lanes(self) -> GroupValues | None:
        """The parameters of several instances whose products are found together.

        They cannot be where fields are not scalar.
        """
        return None if self._actions is None else self._actions.values

    @cached_property
    def _action(self) -> Action:
        return Action(self._space, self.weak.a, GroupValues(self._changing, 1))

    @cached_property
    def _actions(self) -> Action | None:
        if not are_components(self._space, self._changing):
            return None
        return Action(self._space, self.weak.a, GroupValues(self._changing, WIDTH))

    @cached_property
    def _prescribed(self) -> NDArray[np.int64]:
        """The prescribed degrees of freedom."""
        return np.flatnonzero(self.boundary.prescribed)

    def _assemble_matrix(self) -> None:
        self.matrix.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(self.matrix, self._a, bcs=self.boundary.conditions)
        self.matrix.assemble()
        self._matrix_assembled = True

    def _assemble_rhs(self) -> None:
        conditions = self.boundary.conditions
        self.boundary.update()
        with self.rhs.localForm() as local:
            local.set(0)
        dolfinx.fem.petsc.assemble_vector(self.rhs, self._l)
        if not self.boundary.homogeneous:
            dolfinx.fem.petsc.apply_lifting(self.rhs, [self._a], [conditions])
        self.rhs.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(self.rhs, conditions)
        self.remove_nullspace(self.rhs)
        self._rhs_assembled = True


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
    56, 1996). A rotation that moves points along a periodic axis is no function on a closed mesh.
    """
    dimension = space.mesh.geometry.dim
    periodic = set(ends_of(space.mesh))
    motions = [lambda x, i=i: np.eye(dimension)[i][:, None] + 0 * x[:1] for i in range(dimension)]
    for i in range(dimension):
        for j in range(i):
            if periodic & {i, j}:
                continue

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


def reads(form: ufl.Form, coefficients: Iterable[Any]) -> bool:
    """Return whether a form reads one of some Functions and Constants."""
    read = (*form.coefficients(), *form.constants())
    # By identity, since `==` of UFL makes an expression.
    return any(one is other for one in read for other in coefficients)
