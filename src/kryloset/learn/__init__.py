# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Neural operators on a dataset: pairs of functions, a Fourier neural operator and its errors."""

from kryloset.extras import advised

with advised():
    from kryloset.learn.data import FieldPairs, Scaling
    from kryloset.learn.models import Operator, load_model

__all__ = ["FieldPairs", "Operator", "Scaling", "load_model"]
