# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Comparison with an ordinary assembly, to check that a form has its declared traits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from dolfinx import fem

from kryloset.fem.affine.coefficients import Coefficient, numbers_of

ASSEMBLY_TOLERANCE = 1e-10
"""Largest relative difference from an ordinary assembly at which a form counts as affine."""


@contextmanager
def random_values(coefficients: Sequence[Coefficient]) -> Iterator[None]:
    """Give coefficients random values between 1 and 2 in the block. Collective."""
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
    """Refuse a form whose assembly differs from the ordinary one for random coefficients.

    Args:
        difference: Norm of the difference.
        norm: Norm of the ordinary assembly.
        kind: The declared trait of the form.

    Raises:
        ValueError: The difference is larger than rounding.
    """
    # Written so that NaN fails.
    if not difference <= ASSEMBLY_TOLERANCE * norm:
        raise ValueError(f"the form is not {kind} in its coefficients")
