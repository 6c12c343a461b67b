# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matrices of linear elements on meshes of intervals, triangles or tetrahedra."""

from math import factorial
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray


def p1_matrices(points: NDArray[np.float64], cells: NDArray[np.integer]) -> tuple[Any, Any]:
    r"""Return the lumped mass and the stiffness matrix of linear (P1) elements.

    With the edges E of a cell from its first corner as rows, its volume is
    $\sqrt{\det E E^T} / d!$, and the gradients of the barycentric coordinates have
    the inner products $B\, (E E^T)^{-1} B^T$, $B = (-1 \mid I)^T$. Only lengths and
    angles enter, so cells may lie in a space of higher dimension, such as triangles in
    the three coordinates that DOLFINx stores for each point.

    Args:
        points: Coordinates of the nodes, shape (nodes, n), n >= d.
        cells: Numbers of each cell's corners, shape (cells, d + 1), d = 1, 2 or 3.

    Returns:
        The diagonal lumped mass matrix and the matrix of (grad u, grad v), both
        SciPy sparse arrays (CSR) of shape (nodes, nodes).

    Raises:
        ValueError: A cell has no volume.
    """
    nodes, dimension = len(points), cells.shape[1] - 1
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    products = edges @ edges.transpose(0, 2, 1)
    determinants = np.linalg.det(products)
    # A product of d squared edges is the scale on which a determinant is zero.
    scales = np.prod(np.diagonal(products, axis1=1, axis2=2), axis=1)
    flat = np.flatnonzero(~(determinants > 1e-14 * scales))
    if flat.size:
        raise ValueError(f"cell {flat[0]} has no volume: its corners are {cells[flat[0]].tolist()}")
    volumes = np.sqrt(determinants) / factorial(dimension)
    barycentric = np.vstack([-np.ones(dimension), np.eye(dimension)])
    entries = volumes[:, None, None] * (barycentric @ np.linalg.inv(products) @ barycentric.T)
    rows, columns = np.broadcast_arrays(cells[:, :, None], cells[:, None, :])
    stiffness = scipy.sparse.coo_array(
        (entries.ravel(), (rows.ravel(), columns.ravel())), shape=(nodes, nodes)
    ).tocsr()
    shares = np.repeat(volumes / (dimension + 1), dimension + 1)
    mass = np.bincount(cells.ravel(), weights=shares, minlength=nodes)
    return scipy.sparse.diags_array(mass, format="csr"), stiffness
