# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random generators that depend on (seed, index) alone, and random fields."""

from kryloset.sampling.chebyshev import ChebyshevSeries
from kryloset.sampling.gaussian import GaussianField
from kryloset.sampling.generator import generator, split_generator
from kryloset.sampling.karhunen_loeve import KarhunenLoeve
from kryloset.sampling.linear_elements import p1_matrices
from kryloset.sampling.matern import MaternField
from kryloset.sampling.pointwise import Lognormal, RandomField, TwoValued

__all__ = [
    "ChebyshevSeries",
    "GaussianField",
    "KarhunenLoeve",
    "Lognormal",
    "MaternField",
    "RandomField",
    "TwoValued",
    "generator",
    "p1_matrices",
    "split_generator",
]
