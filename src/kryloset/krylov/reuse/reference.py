# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The preconditioner of one system used for its neighbours, and when to make another.

The system whose matrix was factored, or given a multigrid hierarchy, is the owner. Its
neighbours rent what it bought: each pays some iterations that a new preconditioner would save.

Where a_i scales the rows and columns of A_i, as a smooth coefficient does, so that A_i is near
S A_o S with S = sqrt(diag A_i / diag A_o), what is used is S^-1 M_o^-1 S^-1, the scaling of
P. Concus and G. Golub, "Use of fast direct methods for the efficient numerical solution of
nonseparable elliptic equations", SIAM J. Numer. Anal. 10 (1973) 1103-1120. It is symmetric
definite where M_o is, and for A_i = S A_o S as good as M_o is for A_o.
"""

from dataclasses import dataclass
from typing import Any, Self

from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from kryloset.krylov.collective import any_rank
from kryloset.krylov.fast_replace import evolve
from kryloset.krylov.names import FACTORS, Preconditioner
from kryloset.krylov.native.factor import Factor, Supernodes, can_factor, make_factor
from kryloset.krylov.options import USER_PREFIX
from kryloset.krylov.preconditioners.set_up import set_up_preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.structure import is_symmetric

YOUNG = 3
"""Neighbours after a refresh that tell what a new preconditioner would give the next ones."""

MEMORY = 0.2
"""Weight of the newest figure in a mean over recent ones."""

NEIGHBOUR_LIMIT, NEIGHBOUR_GROWTH = 200, 2
"""Iterations, and these times those of the owner's own system, which added up tell that the
owner has nothing in common with a system: it is replaced."""


@dataclass(frozen=True, eq=False)
class Owner:
    """The matrix whose preconditioner is in use, from which it can be made again: a value.

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
        """Local rows."""
        return len(self.offsets) - 1

    def has_pattern_of(self, other: "Owner") -> bool:
        """Whether the local entries of both lie in the same places."""
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(
            self.columns, other.columns
        )

    def diagonal(self, first: int) -> NDArray[Any]:
        """Return the diagonal entries of the local rows, `first` being the first one's number."""
        rows = np.repeat(np.arange(self.rows), np.diff(self.offsets))
        there = self.columns == rows + first
        diagonal = np.zeros(self.rows, dtype=self.entries.dtype)
        diagonal[rows[there]] = self.entries[there]
        return diagonal

    def to_csr(self) -> sp.csr_array:
        """Return the matrix, of one rank, as one of SciPy's."""
        shape = (self.rows, self.rows)
        return sp.csr_array((self.entries, self.columns, self.offsets), shape)

    def to_mat(self, operator: PETSc.Mat) -> PETSc.Mat:
        """Make a Mat laid out like `operator`, with what that brings along. Collective.

        That are its blocks, its null spaces and its interpolations.
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


class SharedPreconditioner:
    """The preconditioner of an owner, scaled to fit the operator: a Python context of a PC.

    For lu and cholesky it is a `Factor` where there is one that is of use, and PETSc's else.

    Attributes:
        owner: whose preconditioner is set up, None before the first.
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
        """Say which preconditioner, and what the method is content with.

        Args:
            name: of the preconditioner.
            symmetric: whether the method needs a symmetric one.
            single: whether single precision will do: not where residuals are known through
                earlier applications, which then end at its rounding.
            fill: levels of icc and ilu.
            omega: relaxation factor of sor.
            from_options: whether PETSc's options under `options.USER_PREFIX` are read.
        """
        self.owner: Owner | None = None
        self._name, self._symmetric, self._single = name, symmetric, single
        self._fill, self._omega, self._from_options = fill, omega, from_options
        self._factor: Factor | None = None
        self._supernodes: Supernodes | None = None
        self._analysed: Owner | None = None
        self._filled: Owner | None = None

    def take(self, operator: PETSc.Mat, owner: Owner) -> Reason:
        """Set up for the owner, unless that has been done, and for the operator. Collective.

        Returns:
            As `set_up_preconditioner`.
        """
        if owner is not self.owner:
            self.owner = None
            self._factor = self._make_factor(operator, owner)
            if self._factor is None:
                reason = self._set_up(operator, owner)
                if reason is not Reason.CONVERGED:
                    return reason
            self._diagonal = owner.diagonal(operator.getOwnershipRange()[0])
            self.owner = owner
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

    def _make_factor(self, operator: PETSc.Mat, owner: Owner) -> Factor | None:
        """Return the owner's factor, None where PETSc's preconditioner is to be used."""
        wanted = self._single and self._name in FACTORS and not self._from_options
        if not (wanted and can_factor(operator.comm)):
            return None
        matrix = owner.to_csr()
        symmetric = is_symmetric(owner.to_mat(operator))
        if self._name == "cholesky" and not symmetric:
            return None
        if self._analysed is None or not owner.has_pattern_of(self._analysed):
            self._supernodes, self._analysed = Supernodes.of(matrix), owner
        assert self._supernodes is not None
        return make_factor(matrix, self._supernodes, symmetric=symmetric)

    def _set_up(self, operator: PETSc.Mat, owner: Owner) -> Reason:
        """Set PETSc's preconditioner up for the owner. Collective."""
        same = self._filled is not None and owner.has_pattern_of(self._filled)
        if not any_rank(operator.comm, not same):
            owner.fill(self._matrix)
        else:
            self._make_room(operator, owner)
        reason = set_up_preconditioner(
            self._ksp,
            self._name,
            symmetric=self._symmetric,
            fill=self._fill,
            omega=self._omega,
            from_options=self._from_options,
        )
        # One that failed is not filled again.
        self._filled = owner if reason is Reason.CONVERGED else None
        return reason

    def _make_room(self, operator: PETSc.Mat, owner: Owner) -> None:
        self._matrix = owner.to_mat(operator)
        # A KSP of its own: GAMG's finest smoother would read the operator of the outer one.
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


@dataclass(frozen=True)
class Rental:
    """What the owner has cost its neighbours: the account of a ski-rental rule, a value.

    A system of i iterations costs s (i - level) seconds more than with a new preconditioner,
    where s is the time of an iteration and level what a new one would give: the iterations of
    the first `YOUNG` neighbours of an owner, a mean over recent owners, or, where that is
    less, those of an owner's own system and the price of a refresh. The sum since the last
    refresh, never less than zero, is owed; when it reaches the price of a refresh, that is
    paid.

    If a newer owner never takes more iterations than an older one, any rule pays the price at
    least once in the time in which this rule comes to owe it, so that this one costs at most
    2 + e times the best rule that knows the future, where e is the largest cost of one
    system over the price (R. Karlin, M. Manasse, L. Rudolph and D. Sleator, "Competitive
    snoopy caching", Algorithmica 3, 1988; as for the acknowledgement of packets in D. Dooly,
    S. Goldman and S. Scott, J. ACM 48, 2001). Independent systems owe nothing in the mean and
    keep their owner.

    Seconds are those of the processor, so that what others do on the machine does not count.

    Attributes:
        price: seconds of a refresh, the mean over recent ones.
        step: seconds of an iteration, the mean over recent systems.
        own: iterations of an owner's own system.
        young: mean iterations of the first neighbours, 0 before the first.
        age: systems since the owner's own.
        owed: seconds.
    """

    price: float = 0.0
    step: float = 0.0
    own: float = 0.0
    young: float = 0.0
    age: int = 0
    owed: float = 0.0

    @property
    def due(self) -> bool:
        """Whether the price of a refresh is owed."""
        return self.owed > 0.0 and self.owed >= self.price

    def after_refresh(self, iterations: int, price: float, seconds: float) -> Self:
        """Return the account after a new owner's own system.

        Args:
            iterations: that its solve took.
            price: seconds of the set-up.
            seconds: of the iterations.
        """
        return evolve(
            self,
            price=_mean(self.price, price),
            # The first, where there is nothing better yet.
            step=self.step or seconds / max(iterations, 1),
            own=float(iterations),
            age=0,
            owed=0.0,
        )

    def after_neighbour(self, iterations: int, seconds: float) -> Self:
        """Return the account after a system that used the owner's preconditioner."""
        first = self.young == 0.0
        step = seconds / max(iterations, 1)
        # The owner's own system has too few iterations to time one by.
        step = step if first else _mean(self.step, step)
        young = _mean(self.young, iterations) if self.age < YOUNG else self.young
        level = min(young, self.own + self.price / step) if step > 0.0 else young
        owed = max(self.owed + step * (iterations - level), 0.0)
        return evolve(self, step=step, young=young, age=self.age + 1, owed=owed)


def _mean(before: float, value: float) -> float:
    return value if before == 0.0 else (1 - MEMORY) * before + MEMORY * value
