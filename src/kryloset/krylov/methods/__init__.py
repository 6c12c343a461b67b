# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Krylov methods that recycle, as Python contexts of PETSc's KSP."""
