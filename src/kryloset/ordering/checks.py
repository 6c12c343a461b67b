# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of the features by which instances are ordered."""

import numpy as np
from numpy.typing import NDArray


def require_features(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return features as float64, shape (instances, ...).

    Raises:
        ValueError: They have only one axis, or are not finite.
    """
    found: NDArray[np.float64] = np.asarray(features, dtype=np.float64)
    if found.ndim < 2:
        raise ValueError(f"features has shape {found.shape}; it needs (instances, numbers)")
    finite = np.isfinite(found).all(axis=tuple(range(1, found.ndim)))
    if not finite.all():
        raise ValueError(f"features of instance {int(finite.argmin())} are not finite")
    return found


def require_vectors(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return features as a matrix of float64.

    Raises:
        ValueError: They are not a matrix, or not finite.
    """
    if np.ndim(features) != 2:
        raise ValueError(f"features has shape {np.shape(features)}; it needs (instances, numbers)")
    return require_features(features)
