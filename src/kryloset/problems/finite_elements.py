# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The finite elements of a family: mesh, space, coefficient functions, and what is stored."""

from dataclasses import dataclass
from typing import Any

import basix.ufl
import numpy as np
from dolfinx import default_scalar_type, fem
from dolfinx.mesh import Mesh
from scipy.interpolate import RegularGridInterpolator

from kryloset.errors import DataError
from kryloset.problems.base import Array, Instance, Variable
from kryloset.problems.evaluation import Evaluation
from kryloset.problems.finite_element_family import FiniteElementFamily
from kryloset.problems.unknowns import Unknowns


@dataclass(frozen=True)
class Part:
    """A sub-space of the solution's space, or all of it where it is not mixed.

    Attributes:
        fields: The fields that its components are, one after another.
        unknowns: Its degrees of freedom.
        nodal: Whether these are the points of the grid.
        evaluations: By points a side of a grid, how its functions are evaluated there.
    """

    fields: tuple[Variable, ...]
    unknowns: Unknowns
    nodal: bool
    evaluations: dict[int, Evaluation]


class FiniteElements:
    """What all instances on a mesh share: its space, and the functions that are refilled.

    Attributes:
        family: The family.
        domain: The mesh.
        space: The space of the solution.
        parts: Its sub-spaces.
        parameters: By name a Function or a Constant; those with axes of their own are not
            among them.
        changing: All of these; kinds of discretisations add what changes more often.
        meshes: As `Discretisation.meshes` returns them.
    """

    def __init__(self, family: FiniteElementFamily, domain: Mesh) -> None:
        """Build what the instances share.

        Args:
            family: The family.
            domain: Its mesh.
        """
        self.family = family
        self._axes = family.coordinates
        self.domain = domain
        cell = domain.basix_cell()
        self.space = fem.functionspace(domain, family.make_element(cell))
        self._grids = {n: self._grid_points(n) for n in (family.mesh.points, *family.mesh.grids)}
        self.parts = self._make_parts()
        self.meshes = self._make_meshes()

        self._coefficients: dict[int, tuple[Unknowns, bool, dict[int, Evaluation]]] = {}
        self.parameters: dict[str, Any] = {}
        self._functions: dict[str, Variable] = {}
        for variable in family.parameters:
            if not variable.axes and not variable.rank:
                constant = fem.Constant(domain, default_scalar_type(0))
                self.parameters[variable.name] = constant
            elif set(variable.axes) <= set(family.coordinates):
                self.parameters[variable.name] = self._make_coefficient(variable)
                self._functions[variable.name] = variable
        self.changing: list[Any] = list(self.parameters.values())

    def set_parameters(self, instance: Instance) -> None:
        """Refill the coefficient functions and constants. Collective.

        Args:
            instance: The parameters by name, on the grid.

        Raises:
            DataError: A parameter has another shape than the grid, is not finite, or is not
                positive though it has a logarithm.
        """
        for name, parameter in self.parameters.items():
            values = np.asarray(instance[name])
            if not np.isfinite(values).all():
                raise DataError(f"parameter {name} is not finite: mend the family's `draw`")
            if name not in self._functions:
                parameter.value = float(values)
                continue
            variable = self._functions[name]
            if variable.transform == "log" and not (values > 0).all():
                raise DataError(
                    f"parameter {name} ({variable.long_name}) has the value {values.min():g}, and "
                    "must be positive everywhere: mend the family's `draw`"
                )
            shape = self._shape_of(variable)
            if values.shape != shape:
                raise DataError(
                    f"parameter {name} has shape {values.shape}, the grid {shape}: mend the "
                    "family's `draw`, or draw again after changing `mesh`"
                )
            unknowns, nodal, _ = self._coefficients[variable.rank]
            at_nodes = self._on_grid(variable, values)
            if not nodal:
                at_nodes = self._interpolate(at_nodes, unknowns.points)
            unknowns.scatter(at_nodes.reshape(unknowns.shape), parameter.x.array)

    def write(self, array: Array) -> dict[str, Array]:
        """Return the fields on the grid, and the unknowns that are not there. Collective.

        Args:
            array: Degrees of freedom of the solution that this process owns, or more.

        Returns:
            By name on rank 0; an empty dictionary on other ranks.
        """
        stored: dict[str, Array] = {}
        for part in self.parts:
            values = part.unknowns.gather(array)
            if values is None:
                continue
            if not part.nodal:
                stored[f"{part.fields[0].name}_dofs"] = values
                values = part.evaluations[self.family.mesh.points](values)
            stored |= self._fields_of(part, values, self.family.mesh.points)
        return stored

    def read(self, stored: Instance, array: Array) -> None:
        """Set degrees of freedom from what `write` returned, which every process has.

        Args:
            stored: Fields, or unknowns of those that are not nodal on the grid.
            array: Degrees of freedom of the solution on this process, set in place.
        """
        for part in self.parts:
            part.unknowns.scatter(self._at_nodes(part, stored), array)

    def resample(self, points: int, instance: Instance, stored: Instance) -> dict[str, Array]:
        """Evaluate parameters and fields on one of `mesh.grids`, on rank 0.

        Args:
            points: Points of that grid a side.
            instance: The parameters.
            stored: What `write` returned.

        Returns:
            The variables that are on the grid, by name.
        """
        found: dict[str, Array] = {}
        for name, variable in self._functions.items():
            if variable.axes != tuple(self._axes):
                continue
            unknowns, nodal, evaluations = self._coefficients[variable.rank]
            values = np.asarray(instance[name])
            shape = (points,) * self.family.dimension + values.shape[len(variable.axes) :]
            if nodal:
                values = evaluations[points](values.reshape(unknowns.shape))
            else:
                values = self._interpolate(values, self._grids[points])
            found[name] = values.reshape(shape)
        found |= self.family.resample_parameters(points, instance)
        for part in self.parts:
            values = part.evaluations[points](self._at_nodes(part, stored))
            found |= self._fields_of(part, values, points)
        return found

    def _make_parts(self) -> list[Part]:
        fields = self.family.fields
        if self.space.dofmap.index_map_bs == 1 and self.space.num_sub_spaces > 1:
            collapsed = [self.space.sub(i).collapse() for i in range(self.space.num_sub_spaces)]
            spaces: list[tuple[tuple[Variable, ...], Unknowns]] = [
                ((field,), Unknowns(space, np.asarray(dofs)))
                for field, (space, dofs) in zip(fields, collapsed, strict=True)
            ]
        else:
            spaces = [(fields, Unknowns(self.space))]
        declared = {variable.name for variable in self.family.unknowns}
        parts = []
        for members, unknowns in spaces:
            nodal = self._is_grid(unknowns)
            if not nodal and f"{members[0].name}_dofs" not in declared:
                raise ValueError(
                    f"{type(self.family).__name__}: the degrees of freedom of {members[0].name} "
                    "are not the points of the grid: add degrees_of_freedom to its `unknowns`"
                )
            parts.append(Part(members, unknowns, nodal, self._evaluations(unknowns, nodal)))
        return parts

    def _make_coefficient(self, variable: Variable) -> fem.Function:
        """Return a Function for a parameter; those of one rank share a space."""
        shape = (self.family.dimension,) if variable.rank else None
        element = basix.ufl.element(
            "Lagrange", self.domain.basix_cell(), self.family.mesh.degree, shape=shape
        )
        function = fem.Function(fem.functionspace(self.domain, element))
        if variable.rank not in self._coefficients:
            unknowns = Unknowns(function.function_space)
            nodal = self._is_grid(unknowns)
            evaluations = self._evaluations(unknowns, nodal) if nodal else {}
            self._coefficients[variable.rank] = (unknowns, nodal, evaluations)
        return function

    def _make_meshes(self) -> dict[str, Array]:
        """Return nodes and cells of each part, on rank 0."""
        meshes: dict[str, Any] = {}
        for part in self.parts:
            name, cells = part.fields[0].name, part.unknowns.cells()
            if cells is not None:
                meshes |= {f"{name}_points": part.unknowns.points, f"{name}_cells": cells}
                if part.unknowns.tangents is not None:
                    meshes[f"{name}_tangents"] = part.unknowns.tangents
        return meshes

    def _evaluations(self, unknowns: Unknowns, nodal: bool) -> dict[int, Evaluation]:
        """Return evaluations on all grids, but for the one that the nodes are."""
        own = self.family.mesh.points
        return {n: Evaluation(unknowns, x) for n, x in self._grids.items() if n != own or not nodal}

    def _is_grid(self, unknowns: Unknowns) -> bool:
        grid = self._grids[self.family.mesh.points]
        nodes = unknowns.points
        if unknowns.tangents is not None or nodes.shape != grid.shape:
            return False
        return bool(np.allclose(nodes, grid, rtol=0, atol=1e-9 * max(self.family.sides)))

    def _grid_points(self, points: int) -> Array:
        """Return the points of a grid with the corners of the dataset's, in C order."""
        axes = self._axes.values()
        lines = [np.linspace(axis[0], axis[-1], points) for axis in axes]
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(lines))

    def _shape_of(self, variable: Variable) -> tuple[int, ...]:
        shape = tuple(len(self._axes[axis]) for axis in variable.axes)
        return (*shape, self.family.dimension) if variable.rank else shape

    def _on_grid(self, variable: Variable, values: Array) -> Array:
        """Spread a profile along the axes that it lacks."""
        sizes = {axis: len(points) for axis, points in self._axes.items()}
        shape = tuple(n if axis in variable.axes else 1 for axis, n in sizes.items())
        components = values.shape[len(variable.axes) :]
        whole = (*sizes.values(), *components)
        return np.broadcast_to(values.reshape(*shape, *components), whole)

    def _interpolate(self, values: Array, nodes: Array) -> Array:
        """Interpolate between the points of the grid, linearly along each axis."""
        axes = tuple(self._axes.values())
        # A node on the boundary may be outside the grid by a rounding.
        within = np.clip(nodes, [axis[0] for axis in axes], [axis[-1] for axis in axes])
        return np.asarray(RegularGridInterpolator(axes, values)(within))

    def _at_nodes(self, part: Part, stored: Instance) -> Array:
        """Return the degrees of freedom of a part in their own order."""
        if not part.nodal:
            return np.asarray(stored[f"{part.fields[0].name}_dofs"])
        nodes = len(part.unknowns.points)
        columns = [np.reshape(stored[field.name], (nodes, -1)) for field in part.fields]
        return np.concatenate(columns, axis=1).reshape(part.unknowns.shape)

    def _fields_of(self, part: Part, values: Array, points: int) -> dict[str, Array]:
        """Return the fields of a part from its components at the points of a grid."""
        grid = (points,) * self.family.dimension
        components = values.reshape(*grid, -1)
        found, begin = {}, 0
        for field in part.fields:
            size = self.family.dimension if field.rank else 1
            own = components[..., begin : begin + size]
            found[field.name] = own if field.rank else own[..., 0]
            begin += size
        return {name: np.ascontiguousarray(array) for name, array in found.items()}
