# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The finite element space of a family, and the arrays that are stored of its functions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.errors import ConfigError, DataError, FamilyError
from kryloset.fem.coefficients import Coefficients
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.grids import Grids, Name
from kryloset.fem.group.values import GroupValues
from kryloset.fem.part import Part
from kryloset.fem.stored_lanes import StoredLanes
from kryloset.fem.tags import write_tags
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.base import Array, Instance, Variable
from kryloset.problems.checks.coverage import require_seen, require_within
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.checks.stored import check_array, check_stored
from kryloset.problems.finite_element import FiniteElementFamily


class FiniteElements:
    """What all instances on a mesh share: the space and the coefficient functions.

    Attributes:
        family: The family.
        domain: The mesh.
        space: The space of the solution.
        parts: Its sub-spaces.
        parameters: By name a Function for a parameter on the grid, or a Constant of its shape.
        changing: All of these functions and constants.
        meshes: As `Discretisation.meshes` returns them.
        masks: As `Discretisation.masks` returns them, on every process.
    """

    def __init__(self, family: FiniteElementFamily, domain: FamilyMesh) -> None:
        """Build what the instances share.

        Args:
            family: The family.
            domain: Its mesh.

        Raises:
            FamilyError: The family's fields and unknowns do not fit the space, or its mesh does
                not fit its grid.
        """
        self.family = family
        self.domain = domain
        with blamed(family, "make_element"):
            self.space = fem.functionspace(domain, family.make_element(domain.basix_cell()))
        self._grids = Grids(family)
        self._unknowns = {variable.name for variable in family.unknowns}
        self.parts = self._make_parts()
        self._coefficients = Coefficients(family, domain, self._grids)
        self.parameters = self._coefficients.by_name
        stored = self.write(np.zeros_like(fem.Function(self.space).x.array))
        # With a mesh for each instance the unknowns include nodes and cells, which are not here.
        if stored and not any(variable.ragged for variable in family.unknowns):
            stored |= self.nodal_parameters(self._coefficients.zeros)
            check_stored(family, stored, one_state=True)
        self.meshes = self._make_meshes()
        self.masks = self._make_masks()
        self.changing: list[Any] = list(self.parameters.values())
        self._own = GroupValues(self.changing, 1)
        nodes, on_grid = self.parts[0].unknowns.points, self._coefficients.on_grid
        require_within(family, nodes, parameters=bool(on_grid))

    def set_parameters(self, instance: Instance) -> None:
        """Refill the coefficient functions and constants. Collective.

        Args:
            instance: The parameters by name, on the grid.

        Raises:
            DataError: As `Coefficients.fill`.
        """
        self._coefficients.fill([instance], self._own)

    def set_lanes(self, instances: Sequence[Instance], values: GroupValues) -> None:
        """Set the values of a group's coefficients. Serial.

        Args:
            instances: The parameters of each; lanes without an instance take those of the first.
            values: Of the coefficients, set in place.

        Raises:
            DataError: As `Coefficients.fill`.
        """
        idle = values.lanes - len(instances)
        self._coefficients.fill([*instances, *idle * [instances[0]]], values)

    def write(self, array: Array) -> dict[str, Array]:
        """Return the fields on the grid, and the unknowns of the family. Collective.

        Args:
            array: Degrees of freedom of the solution on this process; ghosts are ignored.

        Returns:
            By name on rank 0; an empty dictionary on other ranks.
        """
        stored: dict[str, Array] = {}
        for part in self.parts:
            values = part.unknowns.gather(array)
            if values is None:
                continue
            if self._stores(part):
                stored[part.dofs] = values
            at_points = values if part.nodal else part.evaluations[None](values)
            stored |= self._fields_of(part, at_points, None)
        return stored

    def nodal_parameters(self, instance: Instance) -> dict[str, Array]:
        """Return the parameters at the nodes of the mesh, if the family is to store them.

        Args:
            instance: The parameters.

        Raises:
            ConfigError: The nodes of the mesh are the points of the grid.
        """
        if not self.family.mesh.nodal_parameters:
            return {}
        found = self._coefficients.at_nodes(instance)
        if not found:
            raise ConfigError(
                "mesh.nodal_parameters: the nodes of the mesh are the points of the grid, where "
                "parameters are stored already: remove the key"
            )
        return found

    def write_lanes(self, arrays: Array) -> list[dict[str, Array]]:
        """Return what `write` returns, for several solutions. Serial.

        Args:
            arrays: (n, lanes), degrees of freedom of the solutions.
        """
        lanes = arrays.shape[1]
        stored = self.store_lanes(lanes, 1)
        stored.write(0, arrays)
        return [stored.state(lane, 0) for lane in range(lanes)]

    def store_lanes(self, lanes: int, times: int) -> StoredLanes:
        """Return room for several solutions at some times. Serial."""
        lengths = self._grids.lengths(None)
        return StoredLanes(self.parts, lengths, self._stores, lanes=lanes, times=times)

    def _stores(self, part: Part) -> bool:
        """Return whether degrees of freedom of a part are stored, beside its fields."""
        return part.dofs in self._unknowns

    def read(self, stored: Instance, array: Array) -> None:
        """Set degrees of freedom from arrays that `write` returned.

        Args:
            stored: Fields and unknowns by name, on every process.
            array: Degrees of freedom of the solution on this process, set in place.
        """
        for part in self.parts:
            part.unknowns.scatter(self._at_nodes(part, stored), array)

    def complete(self, where: str, state: Any) -> dict[str, Array]:
        """Return a state with the unknowns that it lacks, interpolated to the nodes.

        Args:
            where: Beginning of the message.
            state: What should be fields on the grid, or unknowns, by name.

        Raises:
            DataError: It is not finite.
            FamilyError: It has neither the fields nor the unknowns of a part, or an array has the
                wrong shape.
        """
        self._check_state(where, state)
        found = dict(state)
        for part in self.parts:
            if part.nodal or part.dofs in state:
                continue
            nodes = part.unknowns.points
            require_within(self.family, nodes, parameters=True)
            columns = [
                self.family.between_points(np.asarray(state[field.name]), nodes).reshape(
                    len(nodes), -1
                )
                for field in part.fields
            ]
            found[part.dofs] = np.concatenate(columns, axis=1).reshape(part.unknowns.shape)
        return found

    def _check_state(self, where: str, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise FamilyError(f"{where} returned a {type(state).__name__}: return a dictionary")
        variables = {v.name: v for v in (*self.family.fields, *self.family.unknowns)}
        for part in self.parts:
            names = [field.name for field in part.fields]
            if not part.nodal and (part.dofs in state or part.unknowns.tangents is not None):
                names = [part.dofs]
            missing = [name for name in names if name not in state]
            if missing:
                raise FamilyError(
                    f"{where} returned {', '.join(state) or 'nothing'} but not {', '.join(missing)}"
                )
            for name in names:
                check_array(where, variables[name], state[name], (), self._grids.axes)
                if not np.isfinite(state[name]).all():
                    raise DataError(f"{where}: {name} is not finite: draw milder parameters")

    def components(self, prescribed: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield each component of a Lagrange field without prescribed values. Collective.

        Args:
            prescribed: Whether each degree of freedom here, ghosts included, is prescribed.

        Yields:
            The name of the field, and the component's degrees of freedom on this process.
        """
        for part in self.parts:
            if part.unknowns.tangents is not None:
                continue
            sizes = zip(part.fields, part.components, strict=True)
            names = [field.name for field, size in sizes for _ in range(size)]
            for number, name in enumerate(names):
                mine = part.unknowns.component(number)
                if not self.domain.comm.allreduce(int(prescribed[mine].sum())):
                    yield name, mine

    def _size_of(self, field: Variable) -> int:
        return self.family.dimension if field.rank else 1

    def resample(
        self, points: GridPoints, instance: Instance, stored: Instance
    ) -> dict[str, Array]:
        """Evaluate parameters and fields on one of `mesh.grids`, on rank 0.

        Args:
            points: That grid.
            instance: The parameters.
            stored: Fields and unknowns, as `write` returned them.

        Returns:
            The variables that are on the grid, by name.
        """
        found = self._coefficients.resample(points, instance)
        for part in self.parts:
            values = part.evaluations[points](self._at_nodes(part, stored))
            found |= self._fields_of(part, values, points)
        return found

    def evaluate(self, stored: Instance) -> dict[str, Array]:
        """Evaluate on rank 0 the fields whose nodes are not the points of the grid."""
        found: dict[str, Array] = {}
        for part in self.parts:
            if not part.nodal:
                values = part.evaluations[None](self._at_nodes(part, stored))
                found |= self._fields_of(part, values, None)
        return found

    def _make_parts(self) -> list[Part]:
        fields = self.family.fields
        if self.space.dofmap.index_map_bs == 1 and self.space.num_sub_spaces > 1:
            collapsed = [self.space.sub(i).collapse() for i in range(self.space.num_sub_spaces)]
            if len(collapsed) != len(fields):
                raise self._fault(
                    f"make_element has {len(collapsed)} parts, but `fields` are "
                    f"{', '.join(field.name for field in fields)}: declare a field for each part"
                )
            spaces: list[tuple[tuple[Variable, ...], Unknowns]] = [
                ((field,), Unknowns(space, np.asarray(dofs)))
                for field, (space, dofs) in zip(fields, collapsed, strict=True)
            ]
        else:
            spaces = [(fields, Unknowns(self.space))]
        parts = []
        for members, unknowns in spaces:
            self._require_components(members, unknowns)
            nodal = self._grids.are_nodes(unknowns)
            evaluations = self._grids.evaluations(unknowns, nodal)
            sizes = tuple(self._size_of(field) for field in members)
            parts.append(Part(members, sizes, unknowns, nodal, evaluations))
        self._require_unknowns(parts)
        return parts

    def _fault(self, what: str) -> FamilyError:
        return FamilyError(f"{describe_class(self.family)}: {what}")

    def _require_components(self, fields: tuple[Variable, ...], unknowns: Unknowns) -> None:
        """Refuse a space with a different number of components from its fields."""
        names = ", ".join(field.name for field in fields)
        for field in fields:
            if field.axes != tuple(self._grids.axes):
                raise self._fault(
                    f"field {field.name} has the dimensions {field.axes}, but a field is on all "
                    "axes of the grid: omit its `dimensions`"
                )
        wanted = sum(map(self._size_of, fields))
        found = math.prod(unknowns.space.ufl_element().reference_value_shape)
        if wanted != found:
            raise self._fault(
                f"the element of {names} has {found} components instead of {wanted}: a scalar "
                f"has 1, a field with rank=1 has {self.family.dimension}"
            )

    def _require_unknowns(self, parts: list[Part]) -> None:
        """Refuse fields whose degrees of freedom would not be stored."""
        needed = {
            part.dofs: ", ".join(field.name for field in part.fields)
            for part in parts
            if not part.nodal
        }
        for name, fields in needed.items():
            if name not in self._unknowns:
                raise self._fault(
                    f"the degrees of freedom of {fields} are not at the points of the grid: add "
                    f"degrees_of_freedom({name.removesuffix('_dofs')}) to `unknowns`, or make a "
                    "mesh whose nodes are these points"
                )

    def _make_meshes(self) -> dict[str, Array]:
        """Return nodes and cells of each part, and what is tagged, on rank 0."""
        meshes: dict[str, Any] = {}
        for part in self.parts:
            name, cells = part.fields[0].name, part.unknowns.cells()
            if cells is not None:
                meshes |= {f"{name}_points": part.unknowns.points, f"{name}_cells": cells}
                if part.unknowns.tangents is not None:
                    meshes[f"{name}_tangents"] = part.unknowns.tangents
        if self.family.mesh.nodal_parameters:
            same = self.parts[0].unknowns.points
            for name, unknowns in self._coefficients.nodes().items():
                cells = unknowns.cells()
                if cells is not None and not np.array_equal(unknowns.points, same):
                    meshes |= {f"{name}_points": unknowns.points, f"{name}_cells": cells}
        tags = write_tags(self.domain)
        if twice := tags.keys() & meshes.keys():
            raise self._fault(f"two parts of the mesh are named {', '.join(twice)}: rename a tag")
        return meshes | tags

    def _make_masks(self) -> dict[Name, NDArray[np.int8]]:
        """Return the masks of the grids that the mesh does not cover. Collective."""
        masks, part = {}, self.parts[0]
        for grid, evaluation in part.evaluations.items():
            found = self.domain.comm.bcast(evaluation.inside)
            inside = found.reshape(self._grids.lengths(grid))
            if grid is None:
                require_seen(self.family, inside, part.unknowns.points)
            if not inside.all():
                masks[grid] = inside.astype(np.int8)
        return masks

    def _at_nodes(self, part: Part, stored: Instance) -> Array:
        """Return the degrees of freedom of a part in their own order."""
        if not part.nodal:
            return np.asarray(stored[part.dofs])
        nodes = len(part.unknowns.points)
        columns = [np.reshape(stored[field.name], (nodes, -1)) for field in part.fields]
        return np.concatenate(columns, axis=1).reshape(part.unknowns.shape)

    def _fields_of(self, part: Part, values: Array, grid: Name) -> dict[str, Array]:
        """Return the fields of a part from its components at the points of a grid."""
        components = values.reshape(*self._grids.lengths(grid), -1)
        found, begin = {}, 0
        for field, size in zip(part.fields, part.components, strict=True):
            own = components[..., begin : begin + size]
            found[field.name] = own if field.rank else own[..., 0]
            begin += size
        return {name: np.ascontiguousarray(array) for name, array in found.items()}
