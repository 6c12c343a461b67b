# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reference sequences of linear systems on which solvers are compared.

The matrices are made by NumPy and SciPy alone: five-point stencils on the interior points of a
square, the coefficient a of each system the exponential of a Gaussian field. A matrix is made from
the field a on the points and the boundary around them, shape (size + 2, size + 2), first axis x.
Unknowns are numbered with y running fastest, and equations are multiplied by the square of the
mesh width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

type Array = NDArray[np.float64]

SMOOTHNESS, INVERSE_LENGTH = 2.5, 7.0
"""alpha and tau in the covariance of the Gaussian field."""

WIND = 200.0
"""Largest speed of the wind, in units of (diffusion) / (side of the square)."""

DEFINITE = ("darcy",)
"""Kinds whose matrices are symmetric positive definite."""

SEED, DRAWN = 3, 40
"""Of the sequences that published counts are for; drawing another number of systems at a time makes
other systems, the first ones too."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """Systems A_i x = b with one sparsity pattern.

    Attributes:
        parameters: (systems, size + 2, size + 2), the coefficients a.
        wavenumbers: (systems,), k of those in `WAVES`, in units of 1 / (side of the square);
            0 for others.
        matrices: A_i, (size^2, size^2), column indices in order.
        rhs: b, (size^2,).
    """

    parameters: Array
    wavenumbers: Array
    matrices: list[sp.csr_array]
    rhs: Array


class Operator:
    """A Mat that takes the matrices of a sequence in turn. Collective."""

    def __init__(self, systems: Sequence, comm: MPI.Comm) -> None:
        """Allocate for the first matrix."""
        self._systems = systems
        n = len(systems.rhs)
        local, _ = PETSc.Sys.splitOwnership(n, comm=comm)
        last = comm.scan(local)
        self._rows = slice(last - local, last)
        sizes = (local, n)
        self.mat = PETSc.Mat().createAIJ((sizes, sizes), csr=self._csr(0), comm=comm)
        self.rhs = self.mat.createVecLeft()
        self.rhs.setArray(systems.rhs[self._rows])

    def load(self, number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Put the entries of a matrix into the Mat; return it, and b."""
        self.mat.setValuesCSR(*self._csr(number))
        self.mat.assemble()
        return self.mat, self.rhs

    def _csr(self, number: int) -> tuple[Any, Any, Any]:
        rows = self._systems.matrices[number][self._rows]
        integer, scalar = PETSc.IntType, PETSc.ScalarType
        return rows.indptr.astype(integer), rows.indices.astype(integer), rows.data.astype(scalar)


def make_sequence(
    kind: str, size: int, count: int, *, drawn: int, strength: float | Array = 1.0
) -> Sequence:
    """Return the first systems of a sequence of one of `KINDS`, of those that are drawn.

    The Gaussian fields are multiplied by `strength`, which may be an array (count, 1, 1).
    """
    generator = np.random.default_rng(SEED)
    parameters = np.exp(strength * draw_fields(generator, drawn, size + 2)[:count])
    matrices = [KINDS[kind](a) for a in parameters]
    wavenumbers = np.zeros(count)
    if kind in WAVES:
        # After the fields, which are those of the other kinds.
        wavenumbers = generator.uniform(size=drawn)[:count]
        matrices = [take_wave_term(m, k) for m, k in zip(matrices, wavenumbers, strict=True)]
    return Sequence(parameters, wavenumbers, matrices, np.full(size**2, 1 / (size + 1) ** 2))


def draw_fields(generator: np.random.Generator, count: int, points: int) -> Array:
    """Draw periodic Gaussian fields on points x points, shape (count, points, points).

    Their mean over the square is 0, their covariance 2 tau^(2 alpha - 2) (tau^2 - Laplace)^-alpha
    on a square of side 1: that of the Fourier-neural-operator Darcy set (Li et al., ICLR 2021)
    with the numbers of the SKR paper (Wang et al., ICLR 2024).
    """
    k = np.fft.fftfreq(points, 1 / points)
    square = k[:, None] ** 2 + k**2
    deviation = (
        INVERSE_LENGTH ** (SMOOTHNESS - 1)
        * np.sqrt(2)
        * (4 * np.pi**2 * square + INVERSE_LENGTH**2) ** (-SMOOTHNESS / 2)
    )
    deviation[0, 0] = 0
    noise = generator.standard_normal((2, count, points, points))
    return np.fft.ifft2(points**2 * deviation * (noise[0] + 1j * noise[1])).real


def darcy(a: Array) -> sp.csr_array:
    """Return -div(a grad u), u = 0 around, harmonic means of a on the faces: s.p.d."""
    c = a[1:-1, 1:-1]
    west, east, south, north = (2 * c * o / (c + o) for o in _neighbours(a))
    return _five_point(west + east + south + north, -west, -east, -south, -north)


def scaled(a: Array) -> sp.csr_array:
    """Return -Laplace(a u): the Laplacian with scaled columns, nonsymmetric."""
    return _five_point(4 * a[1:-1, 1:-1], *(-o for o in _neighbours(a)))


def published(a: Array) -> sp.csr_array:
    """Return the matrix of the SKR paper's published Darcy script. For benchmarks only.

    That of `scaled`, but for the south band, which is read two entries too early in the row
    order: no discretisation of an equation, and indefinite. The paper's counts are for it.
    """
    west, east, south, north = _neighbours(a)
    south = np.roll(south.ravel(), 2).reshape(south.shape)
    return _five_point(4 * a[1:-1, 1:-1], -west, -east, -south, -north)


def take_wave_term(matrix: sp.csr_array, wavenumber: float) -> sp.csr_array:
    """Return A - h^2 k^2 I, h being the mesh width."""
    square = (wavenumber / (np.sqrt(matrix.shape[0]) + 1)) ** 2
    shifted = matrix.copy()
    shifted.setdiag(matrix.diagonal() - square)
    return shifted


def wind(a: Array) -> sp.csr_array:
    """Return -div(a grad u) + a w . grad u with one eddy w, first-order upwind: nonsymmetric."""
    size = a.shape[0] - 2
    h = 1 / (size + 1)
    x = np.arange(1, size + 1) * h
    sine, cosine = np.sin(np.pi * x), np.cos(np.pi * x)
    c = a[1:-1, 1:-1]
    wx = WIND * h * sine[:, None] * cosine * c
    wy = -WIND * h * cosine[:, None] * sine * c
    drift = _five_point(
        abs(wx) + abs(wy), *(-np.maximum(inflow, 0) for inflow in (wy, -wy, wx, -wx))
    )
    return sp.csr_array(darcy(a) + drift)


KINDS: Mapping[str, Callable[[Array], sp.csr_array]] = {
    "darcy": darcy,
    "scaled": scaled,
    "published": published,
    "published_helmholtz": published,
    "wind": wind,
}
"""What makes the matrices of a kind of sequence; for those in `WAVES`, before the wave term."""

WAVES = ("published_helmholtz",)
"""Kinds from whose diagonal h^2 k^2 is taken, k one number a system, uniform in (0, 1).

It is so in the SKR paper's published Helmholtz script. For benchmarks only: the square is less
than a sixth of a wavelength wide, and the term, at most h^2 beside 4 a, changes next to nothing.
"""


def _neighbours(a: Array) -> tuple[Array, Array, Array, Array]:
    """Return a at the west, east, south and north neighbours of the interior points."""
    return a[1:-1, :-2], a[1:-1, 2:], a[:-2, 1:-1], a[2:, 1:-1]


def _five_point(
    centre: Array, west: Array, east: Array, south: Array, north: Array
) -> sp.csr_array:
    """Assemble a five-point stencil, its coefficients given at each interior point."""
    size = len(centre)
    west, east = west.copy(), east.copy()
    west[:, 0] = east[:, -1] = 0
    bands = {
        -size: south.ravel()[size:],
        -1: west.ravel()[1:],
        0: centre.ravel(),
        1: east.ravel()[:-1],
        size: north.ravel()[:-size],
    }
    shape = (size**2, size**2)
    matrix = sp.diags_array(list(bands.values()), offsets=list(bands), shape=shape, format="csr")
    matrix.sort_indices()
    return matrix
