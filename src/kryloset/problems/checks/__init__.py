# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of what a family declares, draws and returns. Their messages say what to correct."""
