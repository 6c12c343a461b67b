# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Comparison with an ordinary assembly, which shows whether a form is what a family claims."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from dolfinx import fem

from kryloset.fem.affine.coefficients import Coefficient, numbers_of

AGREEMENT = 1e-10
"""Relative difference from an ordinary assembly, from which on a form is not affine."""


@contextmanager
def random_values(coefficients: Sequence[Coefficient]) -> Iterator[None]:
    """Let coefficients have random values between 1 and 2 meanwhile. Collective."""
    generator = np.random.default_rng(1)
    kept = [numbers_of(coefficient).copy() for coefficient in coefficients]
    for coefficient in coefficients:
        numbers_of(coefficient)[:] = generator.uniform(1.0, 2.0, numbers_of(coefficient).size)
        if isinstance(coefficient, fem.Function):
            coefficient.x.scatter_forward()
    try:
        yield
    finally:
        for coefficient, numbers in zip(coefficients, kept, strict=True):
            numbers_of(coefficient)[:] = numbers


def check_agreement(difference: float, norm: float, kind: str = "affine") -> None:
    """Compare with an ordinary assembly, for random coefficients.

    Args:
        difference: Norm of the difference from it.
        norm: Its norm.
        kind: What the form is claimed to be.

    Raises:
        ValueError: They differ by more than rounding.
    """
    # Written so that NaN fails.
    if not difference <= AGREEMENT * norm:
        raise ValueError(f"the form is not {kind} in its coefficients")
