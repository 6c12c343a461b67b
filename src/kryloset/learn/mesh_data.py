# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs of functions at the nodes of a mesh, which may be another one for each instance."""

import os
from collections.abc import Callable, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from kryloset.dataset.cells import axes_varying, is_in_cells, is_on_grid
from kryloset.dataset.grids import rows_of_split
from kryloset.dataset.integrity import identity
from kryloset.dataset.layout import SAMPLE_VARYING, TIME_VARYING, widen
from kryloset.dataset.ragged import offsets_path
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.interpolation import GridInterpolation
from kryloset.learn.march import March, Walk
from kryloset.learn.models.base import Task
from kryloset.learn.point_batch import PointBatch
from kryloset.learn.quantities import initial_states
from kryloset.learn.simplices import SimplexMesh
from kryloset.learn.states import States, name_state

type Array = NDArray[np.float64]
#: Reads a parameter of an instance at the nodes of its mesh, (P, components).
type _Parameter = Callable[[int, SimplexMesh, GridInterpolation], Array]

#: The input channel that marks nodes on the boundary of the mesh.
BOUNDARY = "boundary"

#: Fraction of an axis by which a node may be beyond a vertex of the lattice by rounding.
_ROUNDING = 1e-9


class MeshPairs(torch.utils.data.Dataset[PointBatch]):  # type: ignore[misc]
    """The instances of one split as pairs of parameters and solution at the nodes of their meshes.

    An item is a `PointBatch` of one instance, in float32 and physical units, with one channel for
    each parameter and each field of the solution, and for each component of a vector. All
    instances share a mesh, or each has its own. The solution of a trajectory is its last state, or
    with a `window` the states that follow those of x, as in `FieldPairs`.

    A parameter on the grid is read at the nodes where the file has it there
    (`mesh.nodal_parameters`), and otherwise interpolated from the grid, as the forms of the family
    do. One in cells of the lattice is that of the cell around a node, the lower one between two. A
    number is constant. A parameter with axes of its own, such as the corners of a polygon, is left
    out: it shows in the mesh. The input `boundary` is 1 at nodes on the boundary of the mesh,
    `on_<tag>` at nodes on tagged facets, and `in_<tag>` at nodes of tagged cells. States of a
    trajectory are the last inputs.

    Items are read on demand. Each process opens the file by itself, so a `DataLoader` may have
    workers; its `collate_fn` is `join`.

    Args:
        path: The dataset's file.
        split: One of its splits, such as `train`.
        window: As of `FieldPairs`.
        stride: As of `FieldPairs`.
        bundle: As of `FieldPairs`.
        steps: As of `FieldPairs`: if there are several, y is (P, steps, K).

    Attributes:
        inputs: Names of the input channels.
        outputs: Names of the output channels.
        fields: Names of the channels of one state.
        steps: Steps of y.
        times: With a `window`, the times of the states of a trajectory that begins at the first.
        logarithmic: For each input, whether a network should see its logarithm.
        coordinates: Coordinates of the grid, one array per axis: the box around all meshes.
        periodic: Whether each axis is periodic.
        shared: Whether all instances share a mesh.
        instances: The rows of the instances of the split in the file.
        digest: SHA-256 of the digests of everything in the file.

    Raises:
        DataError: The file is missing, damaged or not a dataset; it has no such split, no mesh,
            no trajectories that are so long, or a field that has no values at the nodes of the
            first one.
    """

    #: Where functions are: nodes have no grid.
    place: Final = "mesh"
    grid = ()
    #: Whether the last input is the mask of the domain: all nodes are in it.
    masked = False

    def __init__(
        self,
        path: Path | str,
        split: str,
        *,
        window: int = 0,
        stride: int = 1,
        bundle: int = 1,
        steps: int | None = 1,
    ) -> None:
        """Read the description of the dataset, but no fields."""
        self.path = Path(path)
        self.split = split
        self.window = window
        self.bundle = bundle
        with Dataset(self.path) as dataset:
            self.instances = rows_of_split(dataset, split)
            if fault := find_fault(dataset):
                raise DataError(f"{path}{fault}: train on the grid (training.where: grid)")
            times = np.zeros(1) if dataset.times is None else dataset.times
            self._walk = Walk.find(self.path, len(times), March(window, stride, bundle), steps)
            self.steps, self.times = self._walk.steps, self._walk.times(times)
            self._left_out = initial_states(dataset) if window else set[str]()
            reader = _Reader(dataset, self._left_out)
            self.fields = reader.fields
            known = [c for s in range(window) for c in name_state(self.fields, s, window)]
            self.inputs = (*reader.inputs, *known)
            later = range(window, window + bundle) if bundle > 1 else [0]
            self.outputs = tuple(c for s in later for c in name_state(self.fields, s, bundle))
            self.logarithmic = (*reader.logarithmic, *(False for _ in known))
            self.coordinates = tuple(dataset.coordinates.values())
            axes = dataset.coordinates
            self.periodic = tuple(axis in dataset.config.mesh.periodic for axis in axes)
            self.shared = reader.shared is not None
            self.digest = identity(dataset.file)
        self._opened: tuple[int, _Reader] | None = None

    @property
    def task(self) -> Task:
        """What a network maps between that learns from these pairs."""
        return Task(
            inputs=self.inputs,
            outputs=self.outputs,
            coordinates=self.coordinates,
            periodic=self.periodic,
            dimensions=len(self.coordinates),
            window=self.window,
            time_step=float(self.times[1] - self.times[0]) if self.window else None,
            bundle=self.bundle,
        )

    @property
    def states(self) -> States | None:
        """Which of the inputs are states, if any are."""
        return self.task.states

    def join(self, items: Sequence[PointBatch]) -> PointBatch:
        """Return a batch of items: the `collate_fn` of a `DataLoader`."""
        return PointBatch.join(items)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.instances) * len(self._walk.starts)

    def __getitem__(self, item: int) -> PointBatch:
        """Return one pair."""
        return self._batch(*self._place(item))[1]

    def of_instance(self, instance: int) -> tuple[SimplexMesh, PointBatch]:
        """Return the mesh and the first pair of an instance of any split."""
        return self._batch(instance, self._walk.starts.start)

    def arrays(self, item: int) -> tuple[Array, Array]:
        """Return one pair as stored: arrays (P, C) and (P, K) or more in float64."""
        _, x, y = self._read(*self._place(item))
        return x, y

    def columns(self, item: int) -> tuple[Array, Array]:
        """Return the values of each channel of one pair: arrays (C, P) and (K, P).

        Of several states of y it is the first.
        """
        x, y = self.arrays(item)
        return x.T, (y[:, 0] if self._walk.several else y).T

    def mesh(self, item: int) -> SimplexMesh:
        """Return the mesh of one pair."""
        return self._reader.mesh(self._place(item)[0])

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open file: the process that unpickles opens its own."""
        return self.__dict__ | {"_opened": None}

    def _place(self, item: int) -> tuple[int, int]:
        """Return the instance of an item in the file, and the state at which it begins."""
        (number,), (start,) = self._walk.place([item], len(self.instances))
        return int(self.instances[number]), int(start)

    def _batch(self, instance: int, start: int) -> tuple[SimplexMesh, PointBatch]:
        mesh, x, y = self._read(instance, start)
        low, high = self._reader.box
        positions = (mesh.points - low) / (high - low)
        states = [start + state for state in self._walk.later]
        return mesh, PointBatch.of(instance, states, mesh, positions, x, y)

    def _read(self, instance: int, start: int) -> tuple[SimplexMesh, Array, Array]:
        """Return the mesh of an instance, and inputs and outputs that begin at a state of it."""
        mesh, given = self._reader.read(instance)
        known, later = (
            [self._reader.state(instance, start + state, len(mesh.points)) for state in states]
            for states in (self._walk.known, self._walk.later)
        )
        y = np.column_stack(later)
        if self._walk.several:
            y = y.reshape(len(y), self.steps, -1)
        return mesh, np.column_stack([given, *known]), y

    @property
    def _reader(self) -> "_Reader":
        # After a fork, HDF5 must not use a file that the parent process opened.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), _Reader(Dataset(self.path), self._left_out)
        return self._opened[1]


def has_own_nodes(dataset: Dataset) -> bool:
    """Return whether the nodes of a dataset's meshes are not the points of its grid."""
    return f"{dataset.fields[0]}_dofs" in dataset.unknowns


def find_fault(dataset: Dataset) -> str | None:
    """Return why not all fields have values at the nodes of the first one, as the end of a message.

    None: they have.
    """
    meshes = {*dataset.meshes(), *dataset.unknowns}
    first, *others = dataset.fields
    if f"{first}_points" not in meshes:
        return f" has no mesh of `{first}`, so there are no nodes"
    if f"{first}_tangents" in meshes:
        return f": `{first}` is in edge elements, which have no values at nodes"
    for other in others:
        if f"{other}_points" in meshes:
            return f": `{other}` has nodes of its own, and not those of `{first}`"
    return None


class _Reader:
    """Reads parameters and solution of an instance at its nodes, from a file that stays open.

    Args:
        dataset: The open dataset.
        left_out: Parameters that are no inputs.

    Attributes:
        inputs: Names of the input channels but for states.
        fields: Names of the channels of a state.
        logarithmic: For each of these inputs, whether a network should see its logarithm.
        shared: The mesh that all instances share, if they do.
        box: Lowest and highest coordinates along each axis.
    """

    def __init__(self, dataset: Dataset, left_out: Set[str]) -> None:
        """Find what there is to read."""
        self._dataset = dataset
        self._first = dataset.fields[0]
        self._dofs = f"{self._first}_dofs" if f"{self._first}_dofs" in dataset.unknowns else None
        closed, periodic = dataset.closed_coordinates, dataset.config.mesh.periodic
        self._axes, self._grid = tuple(closed.values()), dataset.grid
        self._vertices = [line[:: dataset.config.mesh.degree] for line in self._axes]
        self.box = tuple(np.array([line[end] for line in self._axes]) for end in (0, -1))
        self._periods = {
            number: float(line[-1] - line[0])
            for number, (axis, line) in enumerate(closed.items())
            if axis in periodic
        }
        meshes = dataset.meshes()
        self.shared: SimplexMesh | None = None
        self._marks: dict[str, Callable[[SimplexMesh], NDArray[np.bool_]]] = {
            BOUNDARY: lambda mesh: mesh.boundary
        }
        if f"{self._first}_points" in meshes:
            self.shared = self._make_mesh(*(meshes[f"{self._first}_{n}"] for n in _MESH))
            for name, part in meshes.items():
                kind, _, tag = name.partition("_")
                if kind == "facets":
                    self._marks[f"on_{tag}"] = partial(SimplexMesh.on_facets, facets=part)
                elif kind == "cells":
                    self._marks[f"in_{tag}"] = partial(SimplexMesh.in_cells, cells=part)
        given = [n for n in dataset.parameters if is_on_grid(dataset, n) and n not in left_out]
        channels = {name: self._channels(name) for name in (*given, *dataset.fields)}
        self.inputs = (*(c for name in given for c in channels[name]), *self._marks)
        self.fields = tuple(c for name in dataset.fields for c in channels[name])
        logarithmic = [self._is_logarithmic(name) for name in given for _ in channels[name]]
        self.logarithmic = (*logarithmic, *(False for _ in self._marks))
        # To find an array and its attributes takes ten times as long as to read an instance of it.
        self._parameters = [self._parameter(name, len(channels[name])) for name in given]
        solution = dataset.fields if self._dofs is None else (self._dofs,)
        self._solution = [self._rows(name) for name in solution]
        self._own = [] if self.shared else [self._rows(f"{self._first}_{name}") for name in _MESH]
        #: Marks and interpolation of the mesh that was read last, which may be the next one, too.
        self._known: tuple[SimplexMesh, Array, GridInterpolation] | None = None

    def read(self, instance: int) -> tuple[SimplexMesh, Array]:
        """Return the mesh of an instance and its inputs but for states, (P, C)."""
        mesh = self.mesh(instance)
        if self._known is None or self._known[0] is not mesh:
            found = np.column_stack([mark(mesh) for mark in self._marks.values()])
            between = GridInterpolation(self._axes, mesh.points, self._grid)
            self._known = mesh, found.astype(np.float64), between
        _, marks, between = self._known
        given = [parameter(instance, mesh, between) for parameter in self._parameters]
        return mesh, np.column_stack([*given, marks])

    def state(self, instance: int, number: int, nodes: int) -> Array:
        """Return a state of an instance, or its solution if there is one alone, (P, K)."""
        parts = [read(instance, number).reshape(nodes, -1) for read in self._solution]
        return np.column_stack(parts)

    def mesh(self, instance: int) -> SimplexMesh:
        """Return the mesh of an instance."""
        return self.shared or self._make_mesh(*(rows(instance) for rows in self._own))

    def _make_mesh(self, points: Array, cells: NDArray[np.int64]) -> SimplexMesh:
        return SimplexMesh(points.astype(np.float64), cells.astype(np.int64), self._periods)

    def _channels(self, name: str) -> tuple[str, ...]:
        if not self._dataset.rank(name):
            return (name,)
        return tuple(f"{name}_{axis}" for axis in self._dataset.coordinates)

    def _is_logarithmic(self, name: str) -> bool:
        return bool(self._dataset.array(name).attrs.get("transform") == "log")

    def _parameter(self, name: str, components: int) -> _Parameter:
        """Return what reads a parameter at the nodes, (P, components)."""
        dataset, at_nodes = self._dataset, f"{name}_nodes"
        if at_nodes in dataset.unknowns and f"mesh/{name}_points" not in dataset.file:
            stored = self._rows(at_nodes)
            return lambda instance, mesh, _: stored(instance).reshape(len(mesh.points), -1)
        rows = self._rows(name)
        if is_in_cells(dataset, name):
            return lambda instance, mesh, _: rows(instance)[self._cells_at(mesh.points)][:, None]
        varying = axes_varying(dataset, name)
        if not any(varying):
            return lambda instance, mesh, _: np.broadcast_to(
                rows(instance).reshape(-1), (len(mesh.points), components)
            )
        lengths = [n if varies else 1 for n, varies in zip(self._grid, varying, strict=True)]

        def on_grid(instance: int, mesh: SimplexMesh, between: GridInterpolation) -> Array:
            values = rows(instance).reshape(*lengths, -1)
            whole = np.broadcast_to(values, (*self._grid, components))
            if self._dofs is None:
                return whole.reshape(len(mesh.points), components)
            return between(np.moveaxis(whole, -1, 0)).T

        return on_grid

    def _cells_at(self, points: Array) -> tuple[NDArray[np.int64], ...]:
        """Return for each axis which cell of the lattice contains each point, (P,)."""
        found = []
        for vertices, along in zip(self._vertices, points.T, strict=True):
            reach = _ROUNDING * (vertices[-1] - vertices[0])
            found.append(
                np.clip(np.searchsorted(vertices, along - reach) - 1, 0, len(vertices) - 2)
            )
        return tuple(found)

    def _rows(self, name: str) -> Callable[..., NDArray[Any]]:
        """Return what reads an array's row of an instance, which has no states, or one of these.

        What is stored in float32 is read in float64, as all is computed with.
        """
        array = self._dataset.array(name)
        if (offsets := offsets_path(array.name)) in self._dataset.file:
            ends = self._dataset.file[offsets][:].tolist()
            return lambda instance, _=0: widen(array[ends[instance] : ends[instance + 1]])
        moving = array.attrs[TIME_VARYING]
        if not array.attrs[SAMPLE_VARYING]:
            same = widen(array[...])
            return lambda _, state=0: same[state] if moving else same
        if array.ndim == 1:
            # An HDF5 chunk has the numbers of many instances.
            numbers = widen(array[:])
            return lambda instance, _=0: np.asarray(numbers[instance])
        return lambda instance, state=0: widen(array[(instance, state) if moving else instance])


#: The arrays of a mesh.
_MESH = ("points", "cells")
