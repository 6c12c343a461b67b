# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Neural operators on a dataset: pairs of functions, a Fourier neural operator and its errors."""
