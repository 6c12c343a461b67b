# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reduction of fields to short vectors whose distances are nearly those of the fields.

Each reduction is a linear map, applied to many fields at once, from shape (n, ...) to (n, q) with q
at most `numbers`. All except the random projection are orthogonal projections, so that distances
never grow, and stay the same if nothing is left out.
"""

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

type Array = NDArray[np.float64]
type Reduction = Callable[[Array, int], Array]

NUMBERS = 144
"""Length of the vector of a parameter: 12 x 12 in the plane, as in the code of the SKR paper."""


def cosines(fields: Array, numbers: int = NUMBERS) -> Array:
    """Return the lowest coefficients of the orthonormal cosine transform, DCT-II.

    Unlike a Fourier series it does not treat a field as periodic, whose jump from one side to the
    other would need high frequencies.

    The few that are kept are products with cosines, an axis after the other. A fast transform
    computes all of them, and takes longer.

    Args:
        fields: Shape (n, ...).
        numbers: Largest number of coefficients to keep.
    """
    found = _with_axes(fields)
    for axis, kept in enumerate(_shares(found.shape[1:], numbers), start=1):
        along = np.moveaxis(found, axis, -1)
        # One product a field, whose rounding does not depend on how many fields there are.
        rows = along.reshape(len(found), -1, along.shape[-1]) @ _cosine_basis(along.shape[-1], kept)
        found = np.moveaxis(rows.reshape(*along.shape[:-1], kept), -1, axis)
    return _flat(found)


def _cosine_basis(length: int, numbers: int) -> Array:
    """Return the first orthonormal cosines of the DCT-II as columns, shape (length, numbers)."""
    half_steps = np.outer(2 * np.arange(length) + 1, np.arange(numbers))
    basis = np.cos(np.pi / (2 * length) * half_steps) * np.sqrt(2 / length)
    basis[:, 0] = 1 / np.sqrt(length)
    return np.asarray(basis)


def fourier(fields: Array, numbers: int = NUMBERS) -> Array:
    """Return the lowest frequencies of the discrete Fourier transform.

    This is the truncated FFT of the SKR paper (appendix E.2.2) in the real form of Hartley,
    Re F - Im F, which has as many numbers as the field.

    Args:
        fields: Shape (n, ...).
        numbers: Largest number of coefficients to keep.
    """
    fields = _with_axes(fields)
    lengths = fields.shape[1:]
    axes = tuple(range(1, fields.ndim))
    found = scipy.fft.fftn(fields, axes=axes, norm="ortho")
    found = found.real - found.imag
    for axis, length, kept in zip(axes, lengths, _shares(lengths, numbers), strict=True):
        if kept < length:
            # Frequencies other than zero come in pairs.
            half = (kept - 1) // 2
            found = np.take(found, np.r_[0 : half + 1, length - half : length], axis)
    return _flat(found)


def blocks(fields: Array, numbers: int = NUMBERS) -> Array:
    """Return means over blocks of grid points, that is, the field on a coarse grid.

    Each mean is multiplied by the root of the number of points in the block, so that distances are
    comparable to those of fields.

    Args:
        fields: Shape (n, ...).
        numbers: Largest number of blocks.
    """
    found = _with_axes(fields)
    for axis, parts in enumerate(_shares(found.shape[1:], numbers), start=1):
        length = found.shape[axis]
        bounds = np.arange(parts + 1) * length // parts
        sums = np.add.reduceat(found, bounds[:-1], axis=axis)
        shape = [-1 if other == axis else 1 for other in range(found.ndim)]
        found = sums / np.sqrt(np.diff(bounds)).reshape(shape)
    return _flat(found)


def random_projection(fields: Array, numbers: int = NUMBERS) -> Array:
    """Return random combinations of all values, which preserve squared distances in the mean.

    The map is a subsampled randomised trigonometric transform, which needs no matrix: random signs,
    then the DCT, of which a random part is kept (N. Halko, P. G. Martinsson, J. A. Tropp, SIAM Rev.
    53 (2011), section 4.6; after Ailon and Chazelle's Johnson-Lindenstrauss transform). It is the
    same for all fields of one size.

    Args:
        fields: Shape (n, ...).
        numbers: Number of combinations.
    """
    fields = _flat(_with_axes(fields))
    length = fields.shape[1]
    if length <= numbers:
        return fields
    generator = np.random.default_rng(0)
    signs = generator.choice([-1.0, 1.0], length)
    chosen = np.sort(generator.choice(length, numbers, replace=False))
    found = scipy.fft.dct(fields * signs, axis=1, norm="ortho")[:, chosen]
    return np.asarray(found * np.sqrt(length / numbers))


REDUCTIONS: dict[str, Reduction] = {
    "cosines": cosines,
    "fourier": fourier,
    "blocks": blocks,
    "random": random_projection,
}


def principal_axes(sample: Array, numbers: int = NUMBERS) -> Array:
    """Return the directions in which vectors vary most, by the singular value decomposition.

    Of all orthogonal projections to that many numbers, the one on these axes preserves the most of
    the squared distances in the sample (Eckart and Young, 1936).

    Args:
        sample: Vectors, shape (n, d).
        numbers: Largest number of axes.

    Returns:
        Orthonormal columns, shape (d, at most `numbers`).
    """
    centred = sample - sample.mean(axis=0)
    return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][:numbers].T)


def _shares(lengths: tuple[int, ...], numbers: int) -> list[int]:
    """Return how many numbers to keep along each axis: equally many, and all of short axes."""
    kept = list(lengths)
    left = numbers
    for place, axis in enumerate(np.argsort(lengths, kind="stable")):
        root = left ** (1 / (len(lengths) - place))
        # An integer root may be a little too small through rounding.
        kept[axis] = max(1, min(lengths[axis], int(root + 1e-9)))
        left //= kept[axis]
    return kept


def _with_axes(fields: Array) -> Array:
    return fields[:, None] if fields.ndim == 1 else fields


def _flat(fields: Array) -> Array:
    return np.ascontiguousarray(fields.reshape(len(fields), -1))
