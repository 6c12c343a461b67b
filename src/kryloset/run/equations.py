# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open the equations of a dataset, which its family assembles."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.fem.remeshed import RemeshedDiscretisation
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.learn.equations import Equations
from kryloset.learn.mesh_data import find_fault, has_own_nodes
from kryloset.learn.pairs import Place
from kryloset.learn.residual_fault import find_residual_fault
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.populations import Population, load_populations, population_of
from kryloset.run.checks.family import load_same_family


def open_equations(path: Path, place: Place = "grid") -> Equations:
    """Return the linear systems of the instances of a dataset, by their rows.

    Shifted instances have those of their settings.

    Args:
        path: The dataset's file. A family in a user's file is loaded from there.
        place: Where predictions have their values: on the grid of the dataset, (K, *grid), or at
            the nodes of its meshes, (P, K), as in `MeshPairs`.

    Raises:
        DataError: The file is missing, damaged or not a dataset; its family is not the one that
            made it; or its instances are not linear systems whose unknowns are values there.
    """
    data = Dataset(path)  # It stays open: to open it takes longer than to read an instance.
    at_nodes = place == "mesh"
    if fault := find_residual_fault(load_same_family(data), at_nodes=at_nodes):
        raise DataError(f"{path}: {fault}")
    if at_nodes and (missing := find_fault(data)):
        raise DataError(f"{path}{missing}, where a prediction could have a residual")
    return Equations(_Systems(data, place).assemble)


class _Systems:
    """The linear systems of a dataset.

    Args:
        data: The dataset.
        place: As of `open_equations`.
    """

    def __init__(self, data: Dataset, place: Place) -> None:
        """Discretise nothing yet."""
        self._data, self._place = data, place
        self._numbers = data.numbers.tolist()
        self._populations = load_populations(data.config)
        self._discretised: dict[str, SteadyDiscretisation | RemeshedDiscretisation] = {}

    def assemble(self, row: int) -> tuple[Any, Any, NDArray[np.int64]]:
        """Return A, b and the places of x in a prediction as a vector, in the order of rows."""
        population = population_of(self._populations, self._numbers[row])
        instance = self._data.instance(row)
        if population.shift not in self._discretised:
            self._discretised[population.shift] = self._discretise(population)
        found = self._discretised[population.shift]
        if isinstance(found, RemeshedDiscretisation):
            found = found.on_stored_mesh(instance, self._data.solution(row))
        places = found.read_unknowns(self._number_values(found)).astype(np.int64)
        return *found.assemble(instance), places

    def _discretise(self, population: Population) -> SteadyDiscretisation | RemeshedDiscretisation:
        family = population.family
        with blamed(family):
            found = family.discretise(MPI.COMM_SELF)
        if not isinstance(found, SteadyDiscretisation | RemeshedDiscretisation):
            raise DataError(
                f"{self._data.path}: the family has a discretisation of its own, "
                f"{type(found).__name__}, whose linear systems are not known"
            )
        return found

    def _number_values(self, discretisation: SteadyDiscretisation) -> dict[str, NDArray[Any]]:
        """Return fields, or unknowns, whose values are their places in a prediction."""
        fields, grid = discretisation.elements.family.fields, self._data.grid
        sizes = [len(grid) if field.rank else 1 for field in fields]
        if self._place == "grid":
            every = np.moveaxis(np.arange(sum(sizes) * np.prod(grid)).reshape(-1, *grid), 0, -1)
        else:
            nodes = len(discretisation.meshes()[f"{fields[0].name}_points"])
            every = np.arange(nodes * sum(sizes)).reshape(nodes, -1)
            if has_own_nodes(self._data):
                return {f"{fields[0].name}_dofs": every if sum(sizes) > 1 else every[:, 0]}
            every = every.reshape(*grid, -1)
        columns = np.split(every, np.cumsum(sizes)[:-1], axis=-1)
        return {
            field.name: column if field.rank else column[..., 0]
            for field, column in zip(fields, columns, strict=True)
        }
