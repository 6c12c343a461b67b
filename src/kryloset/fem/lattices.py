# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Interpolation from coarse lattices to finer ones, for geometric multigrid.

If the degrees of freedom are the points of a regular lattice, the next coarser lattice has every
second point along each axis, and both ends: of 64 points 0, 2, ..., 62 and 63. So lattices of any
size are nested. Between its points a coarse function is linear on the simplices
x_s(1) >= x_s(2) >= ... >= x_s(d) of each cell (H. Freudenthal, Ann. of Math. 43, 1942, 580-582),
which are those of the mesh if points are equidistant. Linear functions are interpolated exactly at
any distances. From quadratic elements the first step leads to linear elements on the same cells.

The interpolations depend on the mesh and on which degrees of freedom are prescribed, so all
instances share them. They are attached to the matrix as its attribute `interpolations`, as PETSc
attaches near null spaces: a function without arguments that makes them on its first call.
"""

from functools import cache
from typing import NamedTuple

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import scipy
from numpy.typing import NDArray

from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.finite_elements import FiniteElements
from kryloset.problems.base import Array
from kryloset.problems.lattice import is_equidistant

COARSEST = 200
"""Number of unknowns on the coarsest lattice that is small enough to factor."""

SHORTEST = 3
"""Number of points along an axis that is not coarsened: its ends and one between them."""


class _Level(NamedTuple):
    """The unknowns on a lattice.

    Attributes:
        axes: Coordinates along each axis; numbers of the points of the finest lattice if they are
            equidistant.
        ends: Of each axis: its last coordinate or, if it is periodic, where its first comes again.
        ranks: (points,), the process that owns each point, in C order of the points.
        numbers: (points, components), global number of each unknown.
        free: (points, components), whether it is not prescribed. Prescribed ones are zero, and have
            no number from the second lattice on.
        sizes: (processes,), number of rows on each process.
    """

    axes: tuple[Array, ...]
    ends: tuple[float, ...]
    ranks: NDArray[np.int64]
    numbers: NDArray[np.int64]
    free: NDArray[np.bool_]
    sizes: NDArray[np.int64]


def declare_interpolations(
    matrix: PETSc.Mat, elements: FiniteElements, boundary: BoundaryValues
) -> None:
    """Attach the attribute `interpolations` to a matrix whose unknowns form a lattice.

    Its value is a function, collective on its first call. It returns PETSc matrices, that to the
    finest lattice first, or none if there are few unknowns. Rows of prescribed degrees of freedom
    are zero, and so are coarse functions at prescribed points.

    Args:
        matrix: The matrix of a form on the space of `elements`.
        elements: Space and grid.
        boundary: The prescribed values.
    """
    if len(elements.parts) > 1 or not elements.parts[0].nodal:
        return

    @cache
    def make() -> tuple[PETSc.Mat, ...]:
        level, interpolations = _finest_level(elements, boundary), []
        while level.sizes.sum() > COARSEST and max(map(len, level.axes)) > SHORTEST:
            coarse, weights = _coarsen(level)
            interpolations.append(_to_mat(level, coarse, weights, elements.domain.comm))
            level = coarse
        return tuple(interpolations)

    matrix.setAttr("interpolations", make)


def _finest_level(elements: FiniteElements, boundary: BoundaryValues) -> _Level:
    """Return the unknowns of the solution's space with its numbers. Collective."""
    comm, dofmap = elements.domain.comm, elements.space.dofmap
    owned, block = dofmap.index_map.size_local, dofmap.index_map_bs
    prescribed = boundary.prescribed
    points = comm.allgather(elements.parts[0].unknowns.numbers[:owned])
    free = np.concatenate(comm.allgather(~prescribed[: owned * block])).reshape(-1, block)
    sizes = np.array([len(part) for part in points])
    order = np.argsort(np.concatenate(points))
    lines, closed = elements.family.coordinates, elements.family.is_periodic
    axes = tuple(map(_numbered, lines.values()))
    ends = tuple(
        len(line) if closed(name) else line[-1] for name, line in zip(lines, axes, strict=True)
    )
    return _Level(
        axes,
        ends,
        np.repeat(np.arange(comm.size), sizes)[order],
        order[:, None] * block + np.arange(block),
        free[order],
        sizes * block,
    )


def _numbered(line: Array) -> Array:
    """Return the numbers of equidistant points, whose quotients are exact; or the points."""
    return np.arange(len(line), dtype=float) if is_equidistant(line) else line


def _coarsen(level: _Level) -> "tuple[_Level, scipy.sparse.csr_array]":
    """Return the next coarser lattice, and its functions at the points of this one.

    Unknowns stay on the process that owns their point, and are prescribed if that point is.
    """
    kept = [
        _every_second(len(axis), closed=axis[-1] < end)
        for axis, end in zip(level.axes, level.ends, strict=True)
    ]
    axes = tuple(axis[places] for axis, places in zip(level.axes, kept, strict=True))
    shape = tuple(map(len, level.axes))
    points = np.ravel_multi_index(np.meshgrid(*kept, indexing="ij"), shape).ravel()
    ranks, free = level.ranks[points], level.free[points]
    sizes = np.zeros_like(level.sizes)
    np.add.at(sizes, ranks, free.sum(axis=1))
    # Those of process 0 come first, then those of process 1, ...
    order = np.argsort(ranks, kind="stable")
    counted = np.cumsum(free[order].ravel()).reshape(free.shape) - 1
    numbers = np.empty_like(counted)
    numbers[order] = counted
    coarse = _Level(axes, level.ends, ranks, numbers, free, sizes)
    return coarse, _interpolate(axes, level.axes, level.ends)


def _every_second(count: int, *, closed: bool) -> NDArray[np.int64]:
    """Return 0, 2, 4, ... and the last number, or all of them if there are few.

    A closed axis needs no last number: beyond it comes the first.
    """
    step = 2 if count > SHORTEST else 1
    every = np.arange(0, count, step)
    return every if closed else np.unique(np.append(every, count - 1))


def _interpolate(
    coarse: tuple[Array, ...], fine: tuple[Array, ...], ends: tuple[float, ...]
) -> "scipy.sparse.csr_array":
    """Return the piecewise linear functions of one lattice at the points of another.

    In the cell with corner c and edges e_i, the point c + sum_i t_i e_i with t sorted so that
    1 >= t_1 >= ... >= t_d >= 0 has the barycentric coordinates 1 - t_1, t_1 - t_2, ..., t_d
    with respect to the corners c, c + e_1, c + e_1 + e_2, ...

    Returns:
        (fine points, coarse points), each in C order.
    """
    cells, fractions = [], []
    for lattice, points, end in zip(coarse, fine, ends, strict=True):
        lattice = np.unique(np.append(lattice, end))
        cell = np.clip(np.searchsorted(lattice, points, side="right") - 1, 0, len(lattice) - 2)
        cells.append(cell)
        fractions.append((points - lattice[cell]) / np.diff(lattice)[cell])
    corner, t = (
        np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, len(fine))
        for along in (cells, fractions)
    )
    sizes = tuple(map(len, coarse))
    order = np.argsort(-t, axis=1, kind="stable")
    weights = -np.diff(np.take_along_axis(t, order, axis=1), axis=1, prepend=1.0, append=0.0)
    steps = np.cumsum(np.eye(len(sizes), dtype=np.int64)[order], axis=1)
    corners = corner[:, None] + np.pad(steps, ((0, 0), (1, 0), (0, 0)))
    columns = np.ravel_multi_index(tuple(np.moveaxis(corners, -1, 0)), sizes, mode="wrap")
    rows = np.repeat(np.arange(len(t)), len(fine) + 1)
    there = weights.ravel() > 0
    entries = weights.ravel()[there], (rows[there], columns.ravel()[there])
    return scipy.sparse.csr_array(entries, (len(t), int(np.prod(sizes))))


def _to_mat(
    fine: _Level, coarse: _Level, weights: "scipy.sparse.csr_array", comm: MPI.Comm
) -> PETSc.Mat:
    """Return the interpolation of all components, for free unknowns only. Collective."""
    points = weights.tocoo()
    free = fine.free[points.row] & coarse.free[points.col]
    rows, columns = fine.numbers[points.row][free], coarse.numbers[points.col][free]
    values = np.broadcast_to(points.data[:, None], free.shape)[free]
    end = np.cumsum(fine.sizes)[comm.rank]
    begin, width = end - fine.sizes[comm.rank], coarse.sizes[comm.rank]
    here = (rows >= begin) & (rows < end)
    at = (rows[here] - begin, columns[here])
    shape = (int(end - begin), int(coarse.sizes.sum()))
    own = scipy.sparse.csr_array((values[here].astype(PETSc.ScalarType), at), shape)
    offsets, indices = own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType)
    return PETSc.Mat().createAIJ(
        ((shape[0], None), (int(width), None)), csr=(offsets, indices, own.data), comm=comm
    )
