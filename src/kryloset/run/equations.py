# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open the equations of a dataset, which its family assembles."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.dataset.layout import TIME_VARYING, widen
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.fem.evolution import EvolutionDiscretisation
from kryloset.fem.newton import NewtonDiscretisation
from kryloset.fem.part import Part
from kryloset.fem.remeshed import RemeshedDiscretisation
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.learn.assembled import Assembled
from kryloset.learn.equation import Equation, LinearEquation, NonlinearEquation, SteppedEquation
from kryloset.learn.equations import Equations
from kryloset.learn.mesh_data import find_fault, has_own_nodes
from kryloset.learn.pairs import Place
from kryloset.learn.residual_fault import find_residual_fault
from kryloset.learn.sparse import Matrices
from kryloset.problems.base import Instance
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.lattice import ROUNDING
from kryloset.problems.populations import Population, load_populations, population_of
from kryloset.run.checks.family import load_same_family

#: Discretisations on one mesh, whose equations are known.
type OnMesh = SteadyDiscretisation | NewtonDiscretisation | EvolutionDiscretisation


def open_equations(path: Path | str, place: Place = "grid") -> Equations:
    """Return the equations of the instances of a dataset, by their rows.

    Shifted instances have those of their settings.

    Args:
        path: The dataset's file. A family in a user's file is loaded from there.
        place: Where predictions have their values: on the grid of the dataset, (K, *grid), or at
            the nodes of its meshes, (P, K), as in `MeshPairs`.

    Raises:
        DataError: The file is missing, damaged or not a dataset; its family is not the one that
            made it; or the unknowns of its equations are not values there.
    """
    data = Dataset(Path(path))  # It stays open: to open it takes longer than to read an instance.
    at_nodes = place == "mesh"
    if fault := find_residual_fault(load_same_family(data), at_nodes=at_nodes):
        raise DataError(f"{path}: {fault}")
    if at_nodes and (missing := find_fault(data)):
        raise DataError(f"{path}{missing}, where a prediction could have a residual")
    return Equations(_Opened(data, place).equation)


class _Opened:
    """The equations of a dataset.

    Args:
        data: The dataset.
        place: As of `open_equations`.
    """

    def __init__(self, data: Dataset, place: Place) -> None:
        """Discretise nothing yet."""
        self._data, self._place = data, place
        self._numbers = data.numbers.tolist()
        self._populations = load_populations(data.config)
        self._discretised: dict[str, OnMesh | RemeshedDiscretisation] = {}
        self._matrices = Matrices()
        #: By discretisation on a shared mesh, the places of the unknowns.
        self._places: dict[OnMesh, Tensor] = {}

    def equation(self, row: int) -> Equation:
        """Return the equation of the instance in a row."""
        population = population_of(self._populations, self._numbers[row])
        instance = self._data.instance(row)
        if population.shift not in self._discretised:
            self._discretised[population.shift] = self._discretise(population)
        found = self._discretised[population.shift]
        if isinstance(found, RemeshedDiscretisation):
            own = found.on_stored_mesh(instance, self._data.solution(row))
            return self._linear(own, self._find_places(own), instance)
        if found not in self._places:
            self._places[found] = self._find_places(found)
        places = self._places[found]
        if isinstance(found, EvolutionDiscretisation):
            return self._stepped(found, places, instance, row)
        if isinstance(found, NewtonDiscretisation):
            return _nonlinear(found, places, instance)
        return self._linear(found, places, instance)

    def _linear(
        self, discretisation: SteadyDiscretisation, places: Tensor, instance: Instance
    ) -> LinearEquation:
        assembled, b = discretisation.assemble(instance)
        matrix, rhs = self._matrices(assembled), torch.from_numpy(b.array_r.copy())
        return LinearEquation(places, matrix.values().nbytes + rhs.nbytes, matrix, rhs)

    def _stepped(
        self,
        discretisation: EvolutionDiscretisation,
        places: Tensor,
        instance: Instance,
        row: int,
    ) -> SteppedEquation:
        family = discretisation.family
        matrix = self._matrices(discretisation.assemble(instance))
        own = 0 if family.operator.constant else matrix.values().nbytes

        def step(number: int) -> Assembled:
            return Assembled(
                partial(discretisation.right_hand_side, instance, number),
                partial(discretisation.pull_back, instance, number),
            )

        def stored(number: int) -> Tensor:
            return torch.from_numpy(discretisation.read_unknowns(self._state(row, number)))

        return SteppedEquation(
            places, own + _bytes_of(instance), matrix, step, stored, family.levels,
            len(family.times),
        )  # fmt: skip

    def _state(self, row: int, number: int) -> dict[str, NDArray[np.float64]]:
        """Return fields and unknowns of a state of a trajectory."""
        with describable(self._data.path):
            return {name: widen(array[row, number]) for name, array in self._in_time.items()}

    @cached_property
    def _in_time(self) -> dict[str, Any]:
        """The arrays of fields and unknowns in the file that have an axis of time."""
        names = (*self._data.fields, *self._data.unknowns)
        found = {name: self._data.array(name) for name in names}
        return {name: array for name, array in found.items() if array.attrs[TIME_VARYING]}

    def _discretise(self, population: Population) -> OnMesh | RemeshedDiscretisation:
        family = population.family
        with blamed(family):
            found = family.discretise(MPI.COMM_SELF)
        assert isinstance(  # `find_residual_fault` knows the others by their names
            found,
            SteadyDiscretisation
            | NewtonDiscretisation
            | EvolutionDiscretisation
            | RemeshedDiscretisation,
        )
        return found

    def _find_places(self, discretisation: OnMesh) -> Tensor:
        """Return where the unknowns are in a predicted state as a vector, (n,)."""
        numbered = self._number_values(discretisation)
        return torch.from_numpy(discretisation.read_unknowns(numbered).astype(np.int64))

    def _number_values(self, discretisation: OnMesh) -> dict[str, NDArray[Any]]:
        """Return fields and unknowns whose values are their places in a predicted state."""
        parts = discretisation.elements.parts
        sizes = [size for part in parts for size in part.components]
        if self._place == "mesh" and has_own_nodes(self._data):
            (part,) = parts
            return {part.dofs: np.arange(np.prod(part.unknowns.shape)).reshape(part.unknowns.shape)}
        grid = self._data.grid
        every = np.arange(sum(sizes) * np.prod(grid))
        if self._place == "grid":
            every = np.moveaxis(every.reshape(-1, *grid), 0, -1)
        every = every.reshape(*grid, -1)
        found, begin = {}, 0
        for part in parts:
            for field, size in zip(part.fields, part.components, strict=True):
                column = every[..., begin : begin + size]
                found[field.name] = column if field.rank else column[..., 0]
                begin += size
            if not part.nodal:
                own = every[..., begin - sum(part.components) : begin]
                found[part.dofs] = own[self._points_of(part)].reshape(part.unknowns.shape)
        return found

    def _points_of(self, part: Part) -> tuple[NDArray[np.int64], ...]:
        """Return for each axis which point of the grid each node of a part is.

        Raises:
            DataError: A node is none.
        """
        lines = [*self._data.coordinates.values()]
        largest = max(np.ptp(line) for line in lines)
        found = []
        for line, along in zip(lines, part.unknowns.points.T, strict=True):
            nearest = np.abs(line[:, None] - along).argmin(axis=0)
            if np.abs(line[nearest] - along).max() > ROUNDING * largest:
                raise DataError(
                    f"{self._data.path}: the nodes of `{part.fields[0].name}` are not among the "
                    "points of the grid, so a prediction there has no residual"
                )
            found.append(nearest)
        return tuple(found)


def _nonlinear(
    discretisation: NewtonDiscretisation, places: Tensor, instance: Instance
) -> NonlinearEquation:
    function = Assembled(
        partial(discretisation.residual_vector, instance),
        partial(discretisation.pull_back, instance),
    )
    zero = torch.from_numpy(discretisation.residual_vector(instance, np.zeros(len(places))))
    return NonlinearEquation(places, _bytes_of(instance) + zero.nbytes, function, zero)


def _bytes_of(instance: Instance) -> int:
    return sum(np.asarray(values).nbytes for values in instance.values())
