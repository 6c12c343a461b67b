# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Initial guesses from earlier solutions of systems that share a matrix."""

from dataclasses import dataclass, field, replace
from typing import Self

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.methods.dense import Array
from kryloset.krylov.revision import Revision, get_revision
from kryloset.krylov.structure import hash_entries

MOST_DIRECTIONS = 16
"""The largest number of directions that are kept."""

NEGLIGIBLE = 1e-10
"""A direction is dropped if less than this fraction of its image is new."""


@dataclass(frozen=True, eq=False)
class Guess:
    """Directions P with orthonormal images Q = A P: a value.

    The guess x0 = P Q'b has the least residual ||b - A x0|| in their span. The correction that a
    solve adds to it, made orthogonal, is the next direction. When there is no more room, all are
    dropped, and the last solution becomes the first direction (Fischer, *Comput. Methods Appl.
    Mech. Engrg.* 163, 1998, with the norm of the residual in place of that of A).

    Attributes:
        directions: P', (at most `MOST_DIRECTIONS`, local rows).
        images: Q', of that shape.
        digest: of the entries of A.
        revision: of A, once it is known; it is not part of the value and never saved.
    """

    directions: Array
    images: Array
    digest: str
    revision: Revision | None = field(default=None, repr=False)

    @classmethod
    def serve(cls, operator: PETSc.Mat, held: Self | None) -> Self:
        """Return the held guess if it belongs to A, else one without directions. Collective."""
        revision = get_revision(operator)
        kept = held is not None and revision is not None and held.revision == revision
        if held is not None and operator.comm.tompi4py().allreduce(int(not kept)) == 0:
            return held
        digest = hash_entries(operator)
        if held is not None and held.digest == digest:
            return replace(held, revision=revision)
        empty = np.zeros((0, operator.getLocalSize()[0]), dtype=PETSc.ScalarType)
        return cls(empty, empty, digest, revision)

    def combine(self, rhs: PETSc.Vec) -> Array | None:
        """Return the local rows of x0; None if there are no directions. Collective."""
        if len(self.directions) == 0:
            return None
        guess: Array = _dots(self.images, rhs.array_r, rhs.comm) @ self.directions
        return guess

    def extend(self, operator: PETSc.Mat, x: PETSc.Vec, guess: Array | None) -> Self:
        """Return this guess with one more direction, x - x0, for one product with A. Collective."""
        directions, images = self.directions, self.images
        if guess is None or len(directions) == MOST_DIRECTIONS:
            directions, images, guess = directions[:0], images[:0], None
        step = x.duplicate()
        step.setArray(x.array_r if guess is None else x.array_r - guess)
        product = operator.createVecLeft()
        operator.mult(step, product)
        p, q, size = step.array_r.copy(), product.array_r.copy(), product.norm()
        # Two passes of Gram-Schmidt are enough.
        for _ in range(2):
            overlap = _dots(images, q, x.comm)
            p -= overlap @ directions
            q -= overlap @ images
        norm = np.sqrt(abs(_dots(q[None], q, x.comm)[0]))
        if not norm > NEGLIGIBLE * size:
            return self
        return replace(
            self,
            directions=np.vstack((directions, p / norm)),
            images=np.vstack((images, q / norm)),
        )


def _dots(rows: Array, vector: Array, comm: PETSc.Comm) -> Array:
    """Return the inner products of rows, spread over the ranks, with a vector."""
    local: Array = rows.conj() @ vector
    return local if comm.size == 1 else comm.tompi4py().allreduce(local)
