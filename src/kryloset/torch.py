# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datasets for PyTorch: pairs of functions from a file, and the operators that learn from them."""

from kryloset.extras import advised

with advised():
    from kryloset.learn.data import FieldPairs
    from kryloset.learn.mesh_data import MeshPairs
    from kryloset.learn.operator import Operator, load_model
    from kryloset.learn.scaling import Scaling

__all__ = ["FieldPairs", "MeshPairs", "Operator", "Scaling", "load_model"]
