# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference preconditioner: that of an earlier system, used for the systems after it.

The system whose matrix was factored, or given a multigrid hierarchy, is the reference. The systems
that use its preconditioner are its neighbours. Each takes some more iterations than with a
preconditioner of its own; `ski_rental` decides when a new one is due.

Let a_i scale the rows and columns of A_i, as a smooth coefficient does, so that A_i is close to
S A_r S with S = sqrt(diag A_i / diag A_r). The preconditioner is then S^-1 M_r^-1 S^-1, the scaling
of P. Concus and G. Golub, "Use of fast direct methods for the efficient numerical solution of
nonseparable elliptic equations", SIAM J. Numer. Anal. 10 (1973) 1103-1120. It is symmetric definite
if M_r is, and for A_i = S A_r S as good as M_r is for A_r.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.collective import any_rank
from kryloset.krylov.names import FACTORS, Preconditioner
from kryloset.krylov.native.factor import Factor, Supernodes, can_factor, make_factor
from kryloset.krylov.options import USER_PREFIX
from kryloset.krylov.preconditioners.set_up import set_up_preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.structure import is_symmetric

if TYPE_CHECKING:
    import scipy.sparse

NEIGHBOUR_LIMIT, NEIGHBOUR_GROWTH = 200, 2
"""The reference is replaced if a neighbour takes more iterations than the first number plus the
second times those of the reference's own system. The two then have little in common."""


@dataclass(frozen=True, eq=False)
class ReferenceMatrix:
    """The matrix whose preconditioner is in use, so that it can be made again: a value.

    Attributes:
        offsets: (local rows + 1), where each row begins.
        columns: (local entries), global column numbers.
        entries: (local entries).
    """

    offsets: NDArray[Any]
    columns: NDArray[Any]
    entries: NDArray[Any]

    @classmethod
    def of(cls, operator: PETSc.Mat) -> Self:
        """Copy the matrix. Collective.

        Raises:
            ValueError: for a matrix that has no entries to copy.
        """
        try:
            return cls(*operator.getValuesCSR())
        except PETSc.Error:
            raise ValueError(
                f"a matrix of PETSc's type {operator.getType()} has no entries to copy, so that "
                "its preconditioner cannot be reused: use refresh always"
            ) from None

    @property
    def rows(self) -> int:
        """The number of local rows."""
        return len(self.offsets) - 1

    def has_pattern_of(self, other: "ReferenceMatrix") -> bool:
        """Return whether both have the same local sparsity pattern."""
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(
            self.columns, other.columns
        )

    def diagonal(self, first: int) -> NDArray[Any]:
        """Return the diagonal entries of the local rows, which begin at row `first`."""
        rows = np.repeat(np.arange(self.rows), np.diff(self.offsets))
        there = self.columns == rows + first
        diagonal = np.zeros(self.rows, dtype=self.entries.dtype)
        diagonal[rows[there]] = self.entries[there]
        return diagonal

    def to_csr(self) -> "scipy.sparse.csr_array":
        """Return the matrix of a single rank as a SciPy matrix."""
        shape = (self.rows, self.rows)
        import scipy.sparse

        return scipy.sparse.csr_array((self.entries, self.columns, self.offsets), shape)

    def to_mat(self, operator: PETSc.Mat) -> PETSc.Mat:
        """Return the matrix as a Mat laid out like `operator`. Collective.

        It has the block size, null spaces and interpolations of `operator`.
        """
        mat = PETSc.Mat().createAIJ(
            operator.getSizes(),
            bsize=operator.getBlockSizes(),
            csr=(self.offsets, self.columns, self.entries),
            comm=operator.comm,
        )
        mat.setNullSpace(operator.getNullSpace())
        mat.setNearNullSpace(operator.getNearNullSpace())
        mat.setAttr("interpolations", operator.getAttr("interpolations"))
        return mat

    def fill(self, mat: PETSc.Mat) -> None:
        """Put the entries into a Mat of the same pattern. Collective."""
        mat.setValuesCSR(self.offsets, self.columns, self.entries)
        mat.assemble()


class ReferencePreconditioner:
    """The preconditioner of a reference, scaled to fit the operator: a Python context of a PC.

    For lu and cholesky it is a `Factor`, if one can be made and is accurate enough; else PETSc's.

    Attributes:
        reference: the matrix whose preconditioner is set up; None before the first.
    """

    def __init__(
        self,
        name: Preconditioner,
        *,
        symmetric: bool,
        single: bool,
        fill: int = 0,
        omega: float = 1.0,
        from_options: bool = False,
    ) -> None:
        """Choose the preconditioner, by what the method needs.

        Args:
            name: of the preconditioner.
            symmetric: whether the method needs a symmetric one.
            single: whether single precision is enough. It is not enough for methods that infer
                their residual from earlier applications: they would stagnate at its rounding.
            fill: levels of icc and ilu.
            omega: relaxation factor of sor.
            from_options: whether PETSc's options under `options.USER_PREFIX` are read.
        """
        self.reference: ReferenceMatrix | None = None
        self._name, self._symmetric, self._single = name, symmetric, single
        self._fill, self._omega, self._from_options = fill, omega, from_options
        self._factor: Factor | None = None
        self._supernodes: Supernodes | None = None
        self._analysed: ReferenceMatrix | None = None
        self._filled: ReferenceMatrix | None = None

    def take(self, operator: PETSc.Mat, reference: ReferenceMatrix) -> Reason:
        """Set up for the reference, unless that is done, and fit the operator. Collective.

        Returns:
            As `set_up_preconditioner`.
        """
        if reference is not self.reference:
            self.reference = None
            self._factor = self._make_factor(operator, reference)
            if self._factor is None:
                reason = self._set_up(operator, reference)
                if reason is not Reason.CONVERGED:
                    return reason
            self._diagonal = reference.diagonal(operator.getOwnershipRange()[0])
            self.reference = reference
        size = np.abs(operator.getDiagonal().getArray(readonly=True))
        ratio = np.abs(self._diagonal)
        known = (ratio > 0) & (size > 0) & np.isfinite(ratio) & np.isfinite(size)
        scale = np.ones(len(ratio))
        np.divide(ratio, size, out=scale, where=known)
        np.sqrt(scale, out=scale)
        if self._factor is not None:
            self._factor.fit(scale)
        else:
            self._scale.setArray(scale)
        return Reason.CONVERGED

    def _make_factor(self, operator: PETSc.Mat, reference: ReferenceMatrix) -> Factor | None:
        """Return the reference's factor; None if PETSc's preconditioner is to be used."""
        wanted = self._single and self._name in FACTORS and not self._from_options
        if not (wanted and can_factor(operator.comm)):
            return None
        matrix = reference.to_csr()
        symmetric = is_symmetric(reference.to_mat(operator))
        if self._name == "cholesky" and not symmetric:
            return None
        if self._analysed is None or not reference.has_pattern_of(self._analysed):
            self._supernodes, self._analysed = Supernodes.of(matrix), reference
        assert self._supernodes is not None
        return make_factor(matrix, self._supernodes, symmetric=symmetric)

    def _set_up(self, operator: PETSc.Mat, reference: ReferenceMatrix) -> Reason:
        """Set PETSc's preconditioner up for the reference. Collective."""
        same = self._filled is not None and reference.has_pattern_of(self._filled)
        if not any_rank(operator.comm, not same):
            reference.fill(self._matrix)
        else:
            self._make_room(operator, reference)
        reason = set_up_preconditioner(
            self._ksp,
            self._name,
            symmetric=self._symmetric,
            fill=self._fill,
            omega=self._omega,
            from_options=self._from_options,
        )
        # After a failure the matrix is made anew.
        self._filled = reference if reason is Reason.CONVERGED else None
        return reason

    def _make_room(self, operator: PETSc.Mat, reference: ReferenceMatrix) -> None:
        self._matrix = reference.to_mat(operator)
        # A separate KSP, since GAMG's finest smoother would read the operator of the outer KSP.
        self._ksp = PETSc.KSP().create(operator.comm)
        self._ksp.setOperators(self._matrix)
        self._ksp.setType(PETSc.KSP.Type.PREONLY)
        if self._from_options:
            self._ksp.setOptionsPrefix(USER_PREFIX)
        self._inner = self._ksp.getPC()
        self._scale, self._work = operator.createVecs()

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Set y to S^-1 M^-1 S^-1 x; called by PETSc."""
        if self._factor is not None:
            self._factor.apply(x.getArray(readonly=True), y.getArray())
            # Written behind PETSc's back: its cached norms are stale.
            y.stateIncrease()
            return
        self._work.pointwiseMult(x, self._scale)
        self._inner.apply(self._work, y)
        y.pointwiseMult(y, self._scale)
