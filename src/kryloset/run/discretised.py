# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisations of a dataset: that of each instance has the settings of its population."""

from collections.abc import Callable, Sequence

from mpi4py import MPI

from kryloset.fem.discretise import discretise
from kryloset.problems import Discretisation
from kryloset.problems.populations import Population, population_of

#: Returns the discretisation of the population of an instance, by its number.
type Discretised = Callable[[int], Discretisation]


def discretise_each(
    populations: Sequence[Population], own: Discretisation, *, kernels: bool = True
) -> Discretised:
    """Return the discretisations of the populations of a dataset, each made when it is needed.

    Args:
        populations: The populations, that of the dataset's own distribution first.
        own: The discretisation of the first.
        kernels: As of `discretise`.
    """
    made = {populations[0].shift: own}

    def discretised(number: int) -> Discretisation:
        population = population_of(populations, number)
        if population.shift not in made:
            made[population.shift] = discretise(population.family, MPI.COMM_SELF, kernels=kernels)
        return made[population.shift]

    return discretised
