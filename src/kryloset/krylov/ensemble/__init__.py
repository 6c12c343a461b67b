# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ensembles: systems with one sparsity pattern that are solved together, a lane each."""
