# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random generators that depend on (seed, index) alone, and random fields."""

from kryloset.sampling.chebyshev import ChebyshevSeries
from kryloset.sampling.gaussian import Boundary, GaussianField, Line, count_resolved
from kryloset.sampling.generator import generator, split_generator
from kryloset.sampling.karhunen_loeve import KarhunenLoeve
from kryloset.sampling.linear_elements import p1_matrices
from kryloset.sampling.matern import MaternField
from kryloset.sampling.pointwise import Lognormal, RandomField, TwoValued
from kryloset.sampling.portable import (
    cosine,
    exponential,
    hyperbolic_tangent,
    logarithm,
    power,
    sine,
)

__all__ = [
    "Boundary",
    "ChebyshevSeries",
    "GaussianField",
    "KarhunenLoeve",
    "Line",
    "Lognormal",
    "MaternField",
    "RandomField",
    "TwoValued",
    "cosine",
    "count_resolved",
    "exponential",
    "generator",
    "hyperbolic_tangent",
    "logarithm",
    "p1_matrices",
    "power",
    "sine",
    "split_generator",
]
