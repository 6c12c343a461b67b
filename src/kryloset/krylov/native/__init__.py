# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kernels in C, compiled at first use, and the sparse factor built on them."""
