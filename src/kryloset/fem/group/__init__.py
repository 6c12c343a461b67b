# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly of a group: forms of several instances at once, a lane each.

`GroupValues` holds the values of the changing coefficients for all lanes. `GroupMatrix` and
`GroupVector` compute from them the entries of all matrices, in one sparsity pattern, and all
right-hand sides. They run FFCx's own kernels with a vector of lanes in place of a number, and add
element tensors at positions that are found once. `GroupSystem` hands both over as an ensemble. It
is serial and for real numbers.
"""

from kryloset.fem.group.matrix import GroupMatrix
from kryloset.fem.group.values import GroupValues
from kryloset.fem.group.vector import GroupVector

__all__ = ["GroupMatrix", "GroupValues", "GroupVector"]
