# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kryloset in a notebook or a script: what `import kryloset` offers."""

from kryloset.library.families import family
from kryloset.library.loading import load
from kryloset.library.opening import open
from kryloset.library.sequences import solve_sequence
from kryloset.library.solving import solve

__all__ = ["family", "load", "open", "solve", "solve_sequence"]
