# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scalar families on the unit square whose degrees of freedom are the dataset's grid.

Lagrange elements of degree p <= 2 on a square of n x n cells, each cut into two
triangles, have their degrees of freedom at the points of the regular
(p n + 1) x (p n + 1) lattice, and one at each point. Parameters and solution
are stored at those points, so nothing is lost between solver and file.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kryloset.problems.base import Array, BoundaryCondition, Discretisation, Family

if TYPE_CHECKING:
    from mpi4py import MPI

    import ufl
    from dolfinx import fem


class WeakForm(NamedTuple):
    """Find u such that a(u, v) = L(v) for all v, with u prescribed on the boundary.

    Attributes:
        a: Bilinear form.
        L: Linear form.
        boundary_value: u on the whole boundary; None where the condition is in the forms.
    """

    a: "ufl.Form"
    L: "ufl.Form"
    boundary_value: float | None = 0.0


class LatticeFamily(Family):
    """A scalar linear family on the unit square: `draw` and `weak_form` are all it needs."""

    boundary_conditions = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "u = 0 on x = 0 and x = 1"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "u = 0 on y = 0 and y = 1"),
    )

    @abstractmethod
    def weak_form(self, space: "fem.FunctionSpace", parameters: Mapping[str, Any]) -> WeakForm:
        """Return the forms.

        Args:
            space: The Lagrange space of the solution.
            parameters: By name, a Function of `space` for a parameter with axes
                and a Constant for a number. Their values are set, and the forms
                assembled anew, for each instance.
        """

    @property
    def coordinates(self) -> dict[str, Array]:
        """The lattice along both axes, boundaries included."""
        axis = np.linspace(0.0, 1.0, self.mesh.points)
        return {"x": axis, "y": axis}

    def discretise(self, comm: "MPI.Comm") -> Discretisation:
        """Build mesh, space, forms and storage on the processes of `comm`."""
        # DOLFINx is needed from here on; to draw instances it is not.
        from kryloset.problems.lattice_discretisation import LatticeDiscretisation

        return LatticeDiscretisation(self, comm)
