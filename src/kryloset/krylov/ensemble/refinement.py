# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Iterative refinement of an ensemble: x + M^-1 (b - A x), with a factor for M.

With a good factor a step costs less than one of a Krylov method, and its residual is a true one:
it need not be computed again in the end (N. Higham, Accuracy and Stability of Numerical Algorithms,
2002, chapter 12). A factor in double precision, or one in single precision and a good first guess,
take one step.
"""

import numpy as np

from kryloset.krylov.ensemble.matrix import EnsembleMatrix
from kryloset.krylov.ensemble.methods import Progress
from kryloset.krylov.ensemble.preconditioner import EnsemblePreconditioner
from kryloset.krylov.ensemble.vectors import Numbers, Vectors, combine
from kryloset.krylov.reason import Reason

CONTRACTION = 1e-3
"""Largest factor by which a step reduces a residual if another one is to follow. Otherwise a Krylov
method takes fewer steps, unless one more is enough."""


def refine(
    matrix: EnsembleMatrix,
    preconditioner: EnsemblePreconditioner,
    b: Numbers,
    x: Numbers,
    r: Numbers,
    norms: Numbers,
    targets: Numbers,
    progress: Progress,
    work: Vectors,
    *,
    begun: bool,
) -> Numbers:
    """Refine the lanes that are live as long as that is worthwhile.

    Lanes rest that have converged, or may take no more iterations. Those that stay live are left to
    a Krylov method, which goes on from their x and r.

    Args:
        matrix: any.
        preconditioner: an approximate inverse of the matrix.
        b: (n, lanes), right-hand sides.
        x: (n, lanes), first solutions; changed. A lane that is made worse than 0 becomes 0.
        r: (n, lanes), b - A x; changed.
        norms: (lanes), of b.
        targets: (lanes), norms of r at which lanes rest.
        progress: changed.
        work: overwritten.
        begun: whether there are x and r. Otherwise x is 0, and b is 0 in lanes that rest.

    Returns:
        The norms of r, (lanes).
    """
    z, one, taking_part = work[0], np.ones(matrix.lanes), int(progress.live.sum())
    sizes, going = norms.copy(), progress.live.copy()
    while going.any():
        if begun:
            preconditioner.apply(r, z)
            combine(one, x, going.astype(np.float64), z, x)
        else:
            preconditioner.apply(b, x)
        begun = True
        found = np.sqrt(matrix.subtract(x, b, r))
        progress.iterations += going
        # Not `>`, which a NaN would pass.
        lost = going & ~(found <= norms)
        if lost.any():
            x[:, lost], r[:, lost], found[lost] = 0.0, b[:, lost], norms[lost]
        progress.rest(going & (found <= targets), Reason.CONVERGED)
        progress.limit_wait(progress.live, taking_part)
        contraction = found / sizes
        sizes = np.where(going, found, sizes)
        enough = (contraction <= CONTRACTION) | (contraction * sizes <= targets)
        going &= progress.live & ~lost & enough
    return sizes
