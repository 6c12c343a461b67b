# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finite elements: weak forms become linear systems, and solutions are evaluated on grids."""
