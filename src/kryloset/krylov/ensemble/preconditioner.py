# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What preconditions an ensemble: the protocol, and the preconditioners by name."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.incomplete import IncompleteCholesky
from kryloset.krylov.ensemble.matrix import EnsembleMatrix
from kryloset.krylov.ensemble.vectors import Numbers
from kryloset.krylov.names import Preconditioner


class EnsemblePreconditioner(Protocol):
    """A preconditioner of all lanes, analysed once for a pattern.

    No lane sees another. One whose set-up fails, by a pivot of zero or a number that is not finite,
    gets the identity.
    """

    @property
    def bytes(self) -> int:
        """Memory of the numbers of all lanes."""

    @property
    def flops(self) -> int:
        """Floating-point operations of one set-up, over all lanes."""

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
        """Take the pattern and the number of lanes from an ensemble."""
        self._places = matrix.pattern.diagonal
        self._inverse = np.ones((matrix.pattern.rows, matrix.entries.shape[1]))

    @property
    def bytes(self) -> int:
        """See `EnsemblePreconditioner`."""
        return self._inverse.nbytes

    @property
    def flops(self) -> int:
        """See `EnsemblePreconditioner`."""
        return self._inverse.size

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


def analyse(
    name: Preconditioner, matrix: EnsembleMatrix, *, double: bool
) -> EnsemblePreconditioner:
    """Return the preconditioner of a name for the pattern of an ensemble, not yet set up.

    Args:
        name: one of `names.ENSEMBLE_PRECONDITIONERS`.
        matrix: the ensemble; its entries do not matter.
        double: whether a factor is in double precision. Others are the same in any case.
    """
    if name == "icc":
        return IncompleteCholesky.analyse(matrix.pattern)
    return Jacobi(matrix)
