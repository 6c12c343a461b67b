# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences of systems in files: `A_<i>` and `rhs_<i>`, i from 0, each in one of several formats.

`sequence` finds, checks and reads them; `petsc` and `exchange` know the formats.
"""
