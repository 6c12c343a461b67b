# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""Products and elementary functions whose bits are the same on every processor.

An instance is drawn wherever it is needed, on any node of a cluster, and must be the same bit for
bit. NumPy's `exp`, `log` and `tanh` differ with the vectors that a processor has, a BLAS sums in an
order of its own, and a compiler may fuse a product and a sum into one rounding. Here each number is
a fixed sequence of sums and products, which IEEE 754 rounds in one way. Matrix products and
exponentials are compiled at first use, if there is a C compiler; NumPy gives the same bits.

Functions are Taylor series after a reduction to small arguments (Muller, Elementary Functions,
2016, chapters 3 and 11), accurate to a few units in the last place.
"""

from functools import cache
from math import factorial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kryloset.compiler import Functions, open_functions

type Array = NDArray[np.float64]

_DECLARATIONS = """
void kryloset_multiply(int64_t, int64_t, int64_t, void *, void *, void *);
void kryloset_exponential(int64_t, void *, void *);
"""

# log 2 and pi / 2 in two parts. The first has so few digits that products with small integers are
# exact.
_LOG2 = (float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33"))
_HALF_PI = (float.fromhex("0x1.921fb544p+0"), float.fromhex("0x1.0b4611a626331p-34"))
_LOG2_OF_E = float.fromhex("0x1.71547652b82fep0")
#: Added to a number below 2^51, it leaves the nearest integer in the last bits.
_SHIFT = float.fromhex("0x1.8p52")


@cache
def _compiled() -> Functions | None:
    """Return the compiled functions, or None if they cannot be made, which is logged once."""
    source = Path(__file__).with_suffix(".c")
    return open_functions(source, _DECLARATIONS, "instances are drawn by NumPy")


def multiply(a: Array, b: Array) -> Array:
    """Return the matrix product a b, each entry summed from the first product to the last.

    Args:
        a: Shape (n, k).
        b: Shape (k, m).
    """
    compiled = _compiled()
    if compiled is None:
        return multiply_by_numpy(a, b)
    library, buffer = compiled
    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    (rows, inner), columns = a.shape, b.shape[1]
    product = np.empty((rows, columns))
    library.kryloset_multiply(rows, inner, columns, buffer(a), buffer(b), buffer(product))
    return product


def multiply_by_numpy(a: Array, b: Array) -> Array:
    """Return the same bits as `multiply`, without a compiled function."""
    product = np.zeros((len(a), b.shape[1]))
    for column, row in zip(a.T, b, strict=True):
        product += column[:, None] * row
    return product


def exponential(x: ArrayLike) -> Array:
    r"""Return exp(x), infinite above 709.8 and the least normal number, 3e-308, below -708.

    With the integer n nearest to $x / \log 2$, $e^x = 2^n e^r$ and $|r| \le \log(2) / 2$.
    """
    compiled, x = _compiled(), np.asarray(x, dtype=np.float64, order="C")
    if compiled is None:
        return exponential_by_numpy(x)
    result = np.empty_like(x)
    compiled.library.kryloset_exponential(x.size, compiled.buffer(x), compiled.buffer(result))
    return result


def exponential_by_numpy(x: Array) -> Array:
    """Return the same bits as `exponential`, without a compiled function."""
    x = np.clip(x, -708.0, 710.0)
    power = (x * _LOG2_OF_E + _SHIFT) - _SHIFT
    rest = (x - power * _LOG2[0]) - power * _LOG2[1]
    total = np.full_like(x, 1 / factorial(13))
    for number in range(12, -1, -1):
        total = total * rest + 1 / factorial(number)
    # NaN has no integer, and stays what it is.
    exponent = np.where(np.isnan(x), 0, power).astype(np.int64) + 1022
    with np.errstate(over="ignore"):
        return np.asarray(total * (exponent << 52).view(np.float64) * 2.0)


def logarithm(x: ArrayLike) -> Array:
    r"""Return the natural logarithm of positive numbers.

    With $x = 2^n m$ and $s = (m - 1) / (m + 1)$, $\log x = n \log 2 + 2 \sum_j s^{2j+1} / (2j+1)$.
    """
    mantissa, power = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < np.sqrt(0.5)
    mantissa, power = np.where(low, 2 * mantissa, mantissa), power - low
    s = (mantissa - 1) / (mantissa + 1)
    square, total = s * s, np.zeros_like(s)
    for odd in range(23, 0, -2):
        total = total * square + 1 / odd
    return np.asarray(power * _LOG2[0] + (power * _LOG2[1] + 2 * s * total))


def power(x: ArrayLike, exponent: float) -> Array:
    """Return positive numbers raised to a power."""
    return exponential(exponent * logarithm(x))


def hyperbolic_tangent(x: ArrayLike) -> Array:
    """Return tanh(x), to an absolute error of rounding."""
    return np.asarray(1 - 2 / (exponential(2 * np.asarray(x, dtype=np.float64)) + 1))


def sine(x: ArrayLike) -> Array:
    """Return sin(x) for |x| < 1e5."""
    return _wave(np.asarray(x, dtype=np.float64), 0)


def cosine(x: ArrayLike) -> Array:
    """Return cos(x) for |x| < 1e5."""
    return _wave(np.asarray(x, dtype=np.float64), 1)


def _wave(x: Array, quarters: int) -> Array:
    r"""Return sin(x + quarters pi / 2), by a reduction to |r| <= pi / 4."""
    turns = np.rint(x * (2 / np.pi))
    rest = (x - turns * _HALF_PI[0]) - turns * _HALF_PI[1]
    quarter = (turns.astype(np.int64) + quarters) % 4
    values = np.where(quarter % 2 == 0, _small_sine(rest), _small_cosine(rest))
    return np.asarray(np.where(quarter < 2, values, -values))


def sine_of_fraction(numerators: NDArray[np.int64], denominator: int) -> Array:
    r"""Return $\sin(\pi n / d)$ of integers, with exact symmetries and zeros."""
    turned = numerators % (2 * denominator)
    n = turned % denominator
    n = np.minimum(n, denominator - n)
    small = _small_sine(np.pi * n / denominator)
    large = _small_cosine(np.pi * (denominator - 2 * n) / (2 * denominator))
    values = np.where(4 * n <= denominator, small, large)
    return np.asarray(np.where(turned < denominator, values, -values))


def sine_of_half_turns(x: Array) -> Array:
    r"""Return $\sin(\pi x)$, with exact zeros at integers."""
    # Both remainders are exact.
    turned = x - 2 * np.rint(x / 2)
    near = np.minimum(abs(turned), 1 - abs(turned))
    values = np.where(near <= 0.25, _small_sine(np.pi * near), _small_cosine(np.pi * (0.5 - near)))
    return np.asarray(np.where(turned < 0, -values, values))


def _small_sine(x: Array) -> Array:
    """Return sin(x) for |x| <= pi / 4."""
    square, total = x * x, np.zeros_like(x)
    for odd in range(19, 0, -2):
        total = total * -square + 1 / factorial(odd)
    return x * total


def _small_cosine(x: Array) -> Array:
    """Return cos(x) for |x| <= pi / 4."""
    square, total = x * x, np.zeros_like(x)
    for even in range(20, -1, -2):
        total = total * -square + 1 / factorial(even)
    return total
