# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Krylov methods that recycle, as Python contexts of PETSc's KSP.

To import them sets two options of PETSc (`keep_bits`), so that GMRES gives the same bits in
every run.
"""

from kryloset.krylov.options import keep_bits

keep_bits()
