# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parameters of a family as coefficients of its forms."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import basix.ufl
import numpy as np
from dolfinx import default_scalar_type, fem
from dolfinx.mesh import Mesh
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.errors import DataError
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.grids import Grids, Name
from kryloset.fem.group.values import GroupValues
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.base import Array, Instance, Variable
from kryloset.problems.checks.drawing import draw_example
from kryloset.problems.finite_element import FiniteElementFamily
from kryloset.problems.lattice import cells_at, vertices_of


class _Space(NamedTuple):
    """The Lagrange space of the parameters of one rank.

    Attributes:
        unknowns: Its degrees of freedom.
        nodal: Whether its nodes are the points of the dataset's grid.
        evaluations: Evaluations on further grids, if it is nodal.
    """

    unknowns: Unknowns
    nodal: bool
    evaluations: dict[Name, Evaluation]


class Coefficients:
    """A Function for each parameter on the grid and a Constant for each other, refilled in place.

    Attributes:
        by_name: These by the names of the parameters.
        on_grid: The parameters that are Functions.
    """

    def __init__(self, family: FiniteElementFamily, domain: Mesh, grids: Grids) -> None:
        """Make the functions and constants, all zero.

        Args:
            family: The family.
            domain: Its mesh.
            grids: Its grids.
        """
        self._family = family
        self._domain = domain
        self._grids = grids
        self._spaces: dict[int, _Space] = {}
        self.by_name: dict[str, Any] = {}
        self.on_grid: dict[str, Variable] = {}
        for variable in family.parameters:
            if variable.placement == "cells":
                element = basix.ufl.element("DG", domain.basix_cell(), 0)
                self.by_name[variable.name] = fem.Function(fem.functionspace(domain, element))
                self.on_grid[variable.name] = variable
            elif variable.axes and set(variable.axes) <= set(grids.axes):
                self.by_name[variable.name] = self._make_function(variable)
                self.on_grid[variable.name] = variable
            else:
                self.by_name[variable.name] = fem.Constant(domain, self._zero(variable))

    def fill(self, instances: Sequence[Instance], values: GroupValues) -> None:
        """Set the values of a group of instances. Collective.

        Args:
            instances: The parameters of each lane by name, on the grid.
            values: Of these functions and constants, with as many lanes; set in place.

        Raises:
            DataError: A parameter does not have the shape of the grid, is not finite, or is not
                positive although its transform is log.
        """
        for name, parameter in self.by_name.items():
            given = [np.asarray(instance[name]) for instance in instances]
            variable, target = self.on_grid.get(name), values[parameter]
            self._check_shapes(name, variable, given)
            stacked = np.stack(given)
            self._check_values(name, variable, stacked)
            if variable is None:
                target[:] = stacked.reshape(len(given), -1).T
                continue
            if variable.placement == "points" and not self._spaces[variable.rank].nodal:
                stacked = self._interpolate(variable, stacked)
            columns = stacked.reshape(len(given), -1).T.astype(target.dtype, order="C")
            # The mode says that no index is out of range, and so that no copy is needed.
            np.take(columns, self._sources[name], axis=0, out=target, mode="clip")

    @property
    def zeros(self) -> Instance:
        """An instance whose parameters on the grid are zero."""
        return {name: np.zeros(self._shape_of(v)) for name, v in self.on_grid.items()}

    def at_nodes(self, instance: Instance) -> dict[str, Array]:
        """Return the parameters on the grid at nodes that are not its points, by name.

        Args:
            instance: The parameters.
        """
        return {
            f"{name}_nodes": self._interpolate(variable, np.asarray(instance[name])[None])[0]
            for name, variable in self.on_grid.items()
            if variable.placement == "points" and not self._spaces[variable.rank].nodal
        }

    def nodes(self) -> dict[str, Unknowns]:
        """Return for each of these parameters the nodes, by the name of the parameter."""
        of_points = {n: v.rank for n, v in self.on_grid.items() if v.placement == "points"}
        return {name: self._spaces[rank].unknowns for name, rank in of_points.items()}

    def _interpolate(self, variable: Variable, values: Array) -> Array:
        """Return (lanes, nodes, ...) of a parameter from its (lanes, *grid, ...)."""
        on_grid = np.moveaxis(self._grids.spread(variable, values), 0, -1)
        points = self._spaces[variable.rank].unknowns.points
        return np.moveaxis(self._family.between_points(on_grid, points), -1, 0)

    @cached_property
    def _sources(self) -> dict[str, NDArray[np.int64]]:
        """By name of a parameter on the grid, the number that gives each degree of freedom."""
        found = {}
        for name, variable in self.on_grid.items():
            if variable.placement == "cells":
                found[name] = self._cells_of(self.by_name[name])
                continue
            unknowns, nodal, _ = self._spaces[variable.rank]
            numbers = np.arange(math.prod(unknowns.shape), dtype=np.float64)
            if nodal:
                shape = self._shape_of(variable)
                profile = np.arange(math.prod(shape), dtype=np.float64).reshape(1, *shape)
                numbers = self._grids.spread(variable, profile)
            places = np.empty(len(self.by_name[name].x.array))
            unknowns.scatter(numbers.reshape(unknowns.shape), places)
            found[name] = places.astype(np.int64)
        return found

    @cached_property
    def _cells_of_grids(self) -> dict[GridPoints, tuple[NDArray[np.int64], ...]]:
        """By further grid, the cell of the lattice that contains each point."""
        grids = self._family.mesh.grids
        return {grid: cells_at(self._family, self._grids.points(grid)) for grid in grids}

    def _cells_of(self, function: fem.Function) -> NDArray[np.int64]:
        """Return the cell of the lattice that contains the middle of each cell of the mesh."""
        mesh = self._domain
        middles = mesh.geometry.x[mesh.geometry.dofmaps[0]].mean(axis=1)
        inside = cells_at(self._family, middles[:, : len(self._grids.axes)])
        places = np.empty(len(function.x.array), np.int64)
        places[function.function_space.dofmap.list[:, 0]] = np.ravel_multi_index(
            inside, self._cells
        )
        return places

    def _check_shapes(self, name: str, variable: Variable | None, given: Sequence[Array]) -> None:
        """Refuse a parameter of another shape than that of its Function or Constant."""
        shape = self.by_name[name].value.shape if variable is None else self._shape_of(variable)
        for values in given:
            if values.shape == shape:
                continue
            if variable is None:
                raise DataError(
                    f"parameter {name} has shape {values.shape} but its Constant has {shape}: "
                    "return as many numbers from each `draw`"
                )
            raise DataError(
                f"parameter {name} has shape {values.shape} but the grid has {shape}: correct "
                "the family's `draw`, or draw again after changing `mesh`"
            )

    @staticmethod
    def _check_values(name: str, variable: Variable | None, values: Array) -> None:
        """Refuse values of a parameter that no form can take."""
        if not np.isfinite(values).all():
            raise DataError(f"parameter {name} is not finite: correct the family's `draw`")
        if variable is not None and variable.transform == "log" and not values.min() > 0:
            raise DataError(
                f"parameter {name} ({variable.long_name}) has the value {values.min():g} and "
                "must be positive everywhere: correct the family's `draw`"
            )

    def resample(self, points: GridPoints, instance: Instance) -> dict[str, Array]:
        """Evaluate the parameters that are on all axes on one of `mesh.grids`, on rank 0.

        Args:
            points: That grid.
            instance: The parameters.
        """
        found: dict[str, Array] = {}
        for name, variable in self.on_grid.items():
            if variable.placement == "cells":
                values = np.asarray(instance[name])[self._cells_of_grids[points]]
                found[name] = values.reshape(self._grids.lengths(points))
                continue
            if variable.axes != tuple(self._grids.axes):
                continue
            unknowns, nodal, evaluations = self._spaces[variable.rank]
            values = np.asarray(instance[name])
            shape = self._grids.lengths(points) + values.shape[len(variable.axes) :]
            if nodal:
                values = evaluations[points](values.reshape(unknowns.shape))
            else:
                values = self._family.between_points(values, self._grids.points(points))
            found[name] = values.reshape(shape)
        return found

    def _make_function(self, variable: Variable) -> fem.Function:
        """Return a Function for a parameter; those of one rank share a space."""
        shape = (self._family.dimension,) if variable.rank else None
        element = basix.ufl.element(
            "Lagrange", self._domain.basix_cell(), self._family.mesh.degree, shape=shape
        )
        function = fem.Function(fem.functionspace(self._domain, element))
        if variable.rank not in self._spaces:
            unknowns = Unknowns(function.function_space)
            nodal = self._grids.are_nodes(unknowns)
            evaluations = self._grids.evaluations(unknowns, nodal) if nodal else {}
            self._spaces[variable.rank] = _Space(unknowns, nodal, evaluations)
        return function

    def _zero(self, variable: Variable) -> Any:
        """Return zeros in the shape of a parameter that is on no axis of the grid."""
        lengths = variable.lengths(self._grids.axes)
        if None in lengths:
            # The length of an axis of its own is known from an instance only.
            lengths = self._example[variable.name].shape
        return np.zeros(lengths, default_scalar_type)

    @cached_property
    def _example(self) -> Instance:
        return draw_example(self._family)

    @cached_property
    def _cells(self) -> tuple[int, ...]:
        """The number of cells of the lattice along each axis."""
        return tuple(len(line) - 1 for line in vertices_of(self._family).values())

    def _shape_of(self, variable: Variable) -> tuple[int, ...]:
        if variable.placement == "cells":
            return self._cells
        shape = tuple(len(self._grids.axes[axis]) for axis in variable.axes)
        return (*shape, self._family.dimension) if variable.rank else shape
