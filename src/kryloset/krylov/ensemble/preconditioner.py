# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What preconditions an ensemble: the protocol, and the preconditioners by name."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.factor import Elimination, EnsembleFactor
from kryloset.krylov.ensemble.incomplete import IncompleteCholesky
from kryloset.krylov.ensemble.inner import SinglePrecisionCG
from kryloset.krylov.ensemble.matrix import EnsembleMatrix
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import Numbers, combine, dot
from kryloset.krylov.names import Preconditioner
from kryloset.krylov.preconditioners.multigrid import read_interpolations


class EnsemblePreconditioner(Protocol):
    """A preconditioner of all lanes, analysed once for a pattern.

    No lane sees another. One whose set-up fails, by a pivot of zero or a number that is not finite,
    gets the identity.
    """

    @property
    def bytes(self) -> int:
        """Memory of the numbers of all lanes."""

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """Take the entries (nnz, lanes) of new matrices, or (nnz, 1) of one matrix for all lanes.

        Returns:
            (lanes), or (1) for one matrix: whether each can be used.
        """

    def apply(self, x: Numbers, y: Numbers) -> None:
        """Set y to M^-1 x, both (n, lanes)."""


class Jacobi:
    """The diagonals. A lane with a zero on its diagonal cannot be used."""

    def __init__(self, matrix: EnsembleMatrix) -> None:
        """Take the pattern and the number of matrices of an ensemble."""
        self._places = matrix.pattern.diagonal
        self._inverse = np.ones((matrix.pattern.rows, matrix.entries.shape[1]))

    @property
    def bytes(self) -> int:
        """See `EnsemblePreconditioner`."""
        return self._inverse.nbytes

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """See `EnsemblePreconditioner`."""
        with np.errstate(all="ignore"):
            np.divide(1.0, entries[self._places], out=self._inverse)
        self._inverse[self._places < 0] = np.inf
        usable = np.isfinite(self._inverse).all(axis=0)
        self._inverse[:, ~usable] = 1.0
        return np.asarray(usable)

    def apply(self, x: Numbers, y: Numbers) -> None:
        """See `EnsemblePreconditioner`."""
        np.multiply(self._inverse, x, out=y)


class Projected:
    """A preconditioner of singular matrices, whose results have no part in the null space."""

    def __init__(self, inner: EnsemblePreconditioner, basis: Sequence[Numbers]) -> None:
        """Take a preconditioner and an orthonormal basis of the null space.

        Args:
            inner: the preconditioner.
            basis: each vector (n, lanes), the same in all lanes.
        """
        self._inner, self._basis = inner, basis
        self._one = np.ones(basis[0].shape[1])

    @property
    def bytes(self) -> int:
        """See `EnsemblePreconditioner`."""
        return self._inner.bytes

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """See `EnsemblePreconditioner`."""
        return self._inner.set_up(entries)

    def apply(self, x: Numbers, y: Numbers) -> None:
        """See `EnsemblePreconditioner`."""
        self._inner.apply(x, y)
        for vector in self._basis:
            combine(self._one, y, -dot(vector, y), vector, y)


def analyse(
    name: Preconditioner, matrix: EnsembleMatrix, *, double: bool
) -> EnsemblePreconditioner:
    """Return the preconditioner of a name for the pattern of an ensemble, not yet set up.

    Args:
        name: one of `names.ENSEMBLE_PRECONDITIONERS`.
        matrix: the ensemble; its entries do not matter.
        double: whether a factor is in double precision. One for all lanes is so in any case, other
            preconditioners are never.

    Raises:
        KrylosetError: for multigrid of a matrix without interpolations.
    """
    basis = _null_space(matrix)
    made = _analyse(name, matrix, double=double, singular=bool(basis))
    return Projected(made, basis) if basis else made


def _analyse(
    name: Preconditioner, matrix: EnsembleMatrix, *, double: bool, singular: bool
) -> EnsemblePreconditioner:
    pattern, own, lanes = matrix.pattern, matrix.entries.shape[1], matrix.lanes
    match name:
        case "cholesky" | "lu":
            elimination = _eliminate(pattern, symmetric=name == "cholesky")
            # One factor for all lanes is small: then it is cheaper to apply it once, in double.
            double |= matrix.constant
            return EnsembleFactor(
                elimination, lanes, double=double, constant=matrix.constant, singular=singular
            )
        case "icc":
            return IncompleteCholesky.analyse(pattern, own, lanes)
        case "multigrid":
            # It alone imports SciPy.
            from kryloset.krylov.ensemble.multigrid import GeometricMultigrid

            interpolations = read_interpolations(matrix.template)
            return SinglePrecisionCG(
                GeometricMultigrid.analyse(pattern, interpolations, own, lanes)
            )
        case _:
            return Jacobi(matrix)


@lru_cache(maxsize=4)
def _eliminate(pattern: Pattern, *, symmetric: bool) -> Elimination:
    """Return the analysis of a pattern, which serves both precisions and any number of lanes."""
    return Elimination(pattern, symmetric=symmetric)


def _null_space(matrix: EnsembleMatrix) -> list[Numbers]:
    """Return an orthonormal basis of the null space that is attached to the template."""
    space = matrix.template.getNullSpace()
    if not space.handle:
        return []
    vectors = [vector.array.copy() for vector in space.getVecs()]
    rows = matrix.pattern.rows
    if space.hasConstant():
        vectors.append(np.full(rows, 1 / np.sqrt(rows)))
    return [np.repeat(vector[:, None], matrix.lanes, axis=1) for vector in vectors]
