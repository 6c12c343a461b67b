# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Polygons: distances from their edges, and meshes made by Gmsh."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kryloset.errors import DataError, KrylosetError
from kryloset.problems.base import Array

if TYPE_CHECKING:
    from mpi4py import MPI

    from dolfinx.mesh import Mesh


def distance_to_edges(points: Array, corners: Array) -> Array:
    """Return the distance of points from each edge of a closed polygon.

    Args:
        points: (points, 2).
        corners: (corners, 2), in order. Edge i goes from corner i to the next.

    Returns:
        (points, corners).
    """
    along = np.roll(corners, -1, axis=0) - corners
    towards = points[:, None] - corners
    at = np.clip(np.sum(towards * along, axis=-1) / np.sum(along**2, axis=-1), 0, 1)
    return np.asarray(np.linalg.norm(towards - at[..., None] * along, axis=-1))


def is_simple(corners: Array) -> bool:
    """Return whether the edges of a closed polygon meet only at its corners."""
    count = len(corners)
    ends = np.roll(corners, -1, axis=0)
    for i in range(count):
        for j in range(i + 1, count):
            if j == i + 1 or (i == 0 and j == count - 1):
                continue
            if _cross(corners[i], ends[i], corners[j], ends[j]):
                return False
    return True


def _cross(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Return whether the segments a b and c d meet."""

    def side(p: Array, q: Array, r: Array) -> float:
        return float(np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])))

    return side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0


def mesh_polygon(comm: "MPI.Comm", outline: Array, holes: Sequence[Array], size: float) -> "Mesh":
    """Mesh a polygon with holes by triangles on rank 0, and distribute the mesh. Collective.

    Args:
        comm: Processes that share the mesh.
        outline: (corners, 2), the corners in order.
        holes: Corners of each hole.
        size: Length of the edges of triangles.

    Raises:
        DataError: An edge crosses another, or Gmsh cannot mesh the polygon.
        KrylosetError: Gmsh cannot be loaded.
    """
    from dolfinx.io import gmsh as reader

    for corners in (outline, *holes):
        # Gmsh would never return.
        if not is_simple(corners):
            raise DataError(f"the polygon {np.round(corners, 4).tolist()} crosses itself")
    try:
        import gmsh
    except (ImportError, OSError) as error:
        raise KrylosetError(
            f"this domain is meshed by Gmsh, which cannot be loaded: {error}; install gmsh (PyPI) "
            "or python-gmsh (conda-forge), and the system's libGLU"
        ) from None
    # Not interruptible: Gmsh's own handler of Ctrl-C would replace Python's.
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        if comm.rank == 0:
            _fill_model(gmsh.model, outline, holes, size)
        return reader.model_to_mesh(gmsh.model, comm, 0, gdim=2).mesh
    except DataError:
        raise
    except Exception as error:  # Gmsh raises nothing narrower
        raise DataError(
            f"Gmsh cannot mesh the polygon {np.round(outline, 4).tolist()}: {error}; "
            "holes must lie inside it, and corners must differ"
        ) from error
    finally:
        gmsh.finalize()


def _fill_model(model: Any, outline: Array, holes: Sequence[Array], size: float) -> None:
    """Describe the domain to Gmsh, and mesh it."""
    loops = []
    for corners in (outline, *holes):
        points = [model.geo.addPoint(x, y, 0.0, size) for x, y in corners]
        lines = [
            model.geo.addLine(p, q) for p, q in zip(points, points[1:] + points[:1], strict=True)
        ]
        loops.append(model.geo.addCurveLoop(lines))
    surface = model.geo.addPlaneSurface(loops)
    model.geo.synchronize()
    model.addPhysicalGroup(2, [surface])
    model.mesh.generate(2)
