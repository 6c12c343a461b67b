# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parameters that lie in a file, for a family whose instances are given and not drawn.

`formats` finds the arrays of a file, `matching` finds those that are parameters, `resampling`
brings them to the grid, and `parameters` reads them an instance at a time.
"""
