# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Neural operators on a dataset: its pairs of fields, a Fourier neural operator, its measure."""

from kryloset.errors import KrylosetError

try:
    from kryloset.learn.data import FieldPairs, Scaling
    from kryloset.learn.models import Operator, load_model
except ModuleNotFoundError as error:
    library = (error.name or "").partition(".")[0]
    if library not in ("torch", "neuralop"):
        raise
    raise KrylosetError(
        f"training needs `{library}`, which is not installed: `make learn` installs it, or "
        "`uv sync --group learn`, or `pip install --group learn`"
    ) from None

__all__ = ["FieldPairs", "Operator", "Scaling", "load_model"]
