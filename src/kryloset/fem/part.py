# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A sub-space of the solution's space, and the fields that it holds."""

from dataclasses import dataclass

from kryloset.fem.evaluation import Evaluation
from kryloset.fem.grids import Name
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.base import Variable


@dataclass(frozen=True)
class Part:
    """A sub-space of a mixed space, or the whole space if it is not mixed.

    Attributes:
        fields: The fields of its components, one after another.
        components: How many each of them has.
        unknowns: Its degrees of freedom.
        nodal: Whether its nodes are the points of the dataset's grid.
        evaluations: Evaluations on grids that are not its nodes, by name of the grid.
    """

    fields: tuple[Variable, ...]
    components: tuple[int, ...]
    unknowns: Unknowns
    nodal: bool
    evaluations: dict[Name, Evaluation]

    @property
    def dofs(self) -> str:
        """Name of the variable that stores its degrees of freedom."""
        return f"{self.fields[0].name}_dofs"
