# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""PETSc's preconditioners by name, set up to fit method and matrix."""
