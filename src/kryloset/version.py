# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The version of Kryloset: the one place, from which the distribution takes it too."""

__version__ = "0.1.0"
