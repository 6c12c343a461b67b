# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Randomness: generators that depend on (seed, index) alone, and random fields."""

from kryloset.sampling.gaussian import GaussianField
from kryloset.sampling.generator import generator, split_generator

__all__ = ["GaussianField", "generator", "split_generator"]
