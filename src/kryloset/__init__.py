# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kryloset: datasets for neural operators by recycling Krylov solvers."""

from importlib.metadata import version

__version__ = version("kryloset")
