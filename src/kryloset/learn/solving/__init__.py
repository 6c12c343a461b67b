# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learned help for a solver, which `kryloset bench learned` measures. No stage imports it."""
