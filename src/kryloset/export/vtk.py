# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Unstructured grids of VTK: the mesh of a dataset with the values at its nodes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import meshio
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.export.base import Format
from kryloset.export.edge_mesh import EdgeMesh
from kryloset.export.selection import Selection
from kryloset.export.unfold import unfold

type Numbers = NDArray[Any]

#: VTK's cells by dimension of the mesh and nodes of a cell, with the places of the nodes of a
#: Lagrange element of basix in the order of VTK.
_CELLS = {
    (1, 2): ("line", (0, 1)),
    (1, 3): ("line3", (0, 1, 2)),
    (2, 3): ("triangle", (0, 1, 2)),
    (2, 6): ("triangle6", (0, 1, 2, 5, 3, 4)),
    (3, 4): ("tetra", (0, 1, 2, 3)),
    (3, 10): ("tetra10", (0, 1, 2, 3, 9, 6, 8, 7, 5, 4)),
}


class VTK(Format):
    """`<field>_<instance>.vtu`, one file for each state, for ParaView, pyvista and meshio.

    The points are the nodes of a field, with the field and others of the same element at them, and
    the parameters that are stored there. A mesh that closes on itself is unfolded. A trajectory has
    a `.pvd` that lists its states with their times. Edge elements have no values at nodes: the
    field is given at the midpoint of each cell.
    """

    def write(self, selection: Selection, path: Path) -> None:
        """Write the files of all instances."""
        dataset = selection.dataset
        if selection.grids != (None,):
            raise DataError("--to vtk writes the mesh and no grid: leave --grid out")
        meshes = dataset.meshes()
        for instance in selection.instances.tolist():
            solution = dataset.solution(instance)
            arrays = meshes | {name: solution[name] for name in dataset.unknowns}
            for fields in _parts(dataset, arrays):
                _write_part(selection, instance, fields, arrays | solution, path)


def _parts(dataset: Dataset, arrays: Mapping[str, Numbers]) -> list[list[str]]:
    """Return the fields that share nodes: a mesh has the name of the first of them."""
    parts: list[list[str]] = []
    for field in dataset.fields:
        if f"{field}_cells" in arrays:
            parts.append([])
        if not parts:
            raise DataError(f"{dataset.file.filename} has no mesh of `{field}`: export to zarr")
        parts[-1].append(field)
    return parts


def _write_part(
    selection: Selection,
    instance: int,
    fields: list[str],
    arrays: Mapping[str, Numbers],
    path: Path,
) -> None:
    """Write the states of fields that share nodes, and for a trajectory their list."""
    dataset, first = selection.dataset, fields[0]
    times, stem = dataset.times, f"{first}_{dataset.numbers[instance]:06}"
    points, cells = arrays[f"{first}_points"], arrays[f"{first}_cells"]
    tangents = arrays.get(f"{first}_tangents")
    given: dict[str, Numbers] = {}
    if f"{first}_dofs" in arrays:
        counts = [len(selection.view.components(field)) for field in fields]
        whole = _by_state(arrays[f"{first}_dofs"], times, len(points))
        columns = np.split(whole, np.cumsum(counts)[:-1], axis=-1)
        at_nodes = {name: arrays.get(f"{name}_nodes") for name in dataset.parameters}
        given = {n: a for n, a in at_nodes.items() if a is not None and len(a) == len(points)}
    else:
        given = _given(selection, instance)
        columns = [_by_state(arrays[field], times, len(points)) for field in fields]
    if periods := _periods(dataset):
        given = {name: array.reshape(len(points), -1) for name, array in given.items()}
        points, cells, nodes = unfold(points, cells, periods)
        columns = [column[:, nodes] for column in columns]
        given = {name: array[nodes] for name, array in given.items()}
        tangents = None if tangents is None else tangents[nodes]
    files = []
    for step in range(len(columns[0])):
        name = f"{stem}.vtu" if times is None else f"{stem}_{step:04}.vtu"
        state = {field: column[step] for field, column in zip(fields, columns, strict=True)}
        if tangents is None:
            made = _nodal(points, cells, state | given, selection.dtype)
        else:
            made = _cellwise(points, cells, tangents, state, selection.dtype)
        made.write(path / name)
        files.append(name)
    if times is not None:
        (path / f"{stem}.pvd").write_text(_collection(files, times), encoding="utf-8")


def _periods(dataset: Dataset) -> dict[int, float]:
    """Return the periods of periodic axes by their numbers."""
    periodic = dataset.config.mesh.periodic
    return {
        number: float(line[-1] - line[0])
        for number, (axis, line) in enumerate(dataset.closed_coordinates.items())
        if axis in periodic
    }


def _by_state(values: Numbers, times: Numbers | None, nodes: int) -> Numbers:
    """Return values at nodes as (times, nodes, components)."""
    return values.reshape(1 if times is None else len(times), nodes, -1)


def _given(selection: Selection, instance: int) -> dict[str, Numbers]:
    """Return the parameters that are functions on the grid."""
    view = selection.view
    whole = [name for name in view.parameters if view.is_whole(name)]
    return {name: view.whole(name, instance) for name in whole}


def _nodal(
    points: Numbers, cells: Numbers, values: Mapping[str, Numbers], dtype: np.dtype[Any]
) -> meshio.Mesh:
    """Return a mesh with values at its nodes; of a cubic element only the vertices are kept."""
    dimension = points.shape[1]
    if (dimension, cells.shape[1]) not in _CELLS:
        cells = cells[:, : dimension + 1]
    kind, places = _CELLS[dimension, cells.shape[1]]
    rows = {name: array.reshape(len(points), -1) for name, array in values.items()}
    data = {name: _three(array).astype(dtype) for name, array in rows.items()}
    return meshio.Mesh(_three(points, fill=True), {kind: cells[:, places]}, point_data=data)


def _cellwise(
    middles: Numbers,
    cells: Numbers,
    tangents: Numbers,
    dofs: Mapping[str, Numbers],
    dtype: np.dtype[Any],
) -> meshio.Mesh:
    """Return a mesh with the values of edge elements at the midpoints of its cells."""
    edges = EdgeMesh.of(middles, cells, tangents)
    kind, _ = _CELLS[middles.shape[1], edges.vertices.shape[1]]
    fields = {name: edges.evaluate(values[:, 0]) for name, values in dofs.items()}
    data = {name: [_three(values).astype(dtype)] for name, values in fields.items()}
    return meshio.Mesh(_three(edges.points, fill=True), {kind: edges.vertices}, cell_data=data)


def _three(rows: Numbers, *, fill: bool = False) -> Numbers:
    """Return a column as it is, and vectors with three components, as VTK has them."""
    if rows.shape[1] == 1 and not fill:
        return rows[:, 0]
    return np.pad(rows, ((0, 0), (0, 3 - rows.shape[1])))


def _collection(files: list[str], times: Numbers) -> str:
    """Return ParaView's list of the files of a trajectory."""
    rows = "".join(
        f'<DataSet timestep="{time!r}" file={quoteattr(file)}/>\n'
        for time, file in zip(times.tolist(), files, strict=True)
    )
    return (
        '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n'
        f"<Collection>\n{rows}</Collection>\n</VTKFile>\n"
    )
