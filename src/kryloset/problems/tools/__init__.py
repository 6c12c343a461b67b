# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What several families are built from: Gaussian fields, quadrature rules, polygons, resonances."""
