# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Estimates the discretisation error of an instance: it is solved again on a refined mesh.

Every edge is halved, so that a triangle becomes four and a tetrahedron eight. The refined mesh is
nested in the first one: parameters and initial states are the same functions on both, those of the
first mesh, and only the space of the solution is larger. Let u_h be the stored solution. The
distance ||u_h - u_{h/2}|| / ||u_{h/2}|| underestimates the error by a factor of 1 - 2^-p, if it
falls as h^p: 3/4 for linear elements and smooth solutions (L. F. Richardson, Phil. Trans. A 210,
1911). Time steps are not refined.
"""

from copy import copy
from functools import cached_property
from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
from dolfinx import fem, mesh
from dolfinx.mesh import RefinementOption

from kryloset.fem.accuracy import COARSE, SolveStrictly, relative_errors
from kryloset.fem.domain import close_domain, make_open_domain
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.grids import Grids
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.base import Array, Family, Instance, degrees_of_freedom
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import EvolutionFamily, FiniteElementFamily
from kryloset.problems.refinable import require_refinable


class Refinement:
    """A family on a mesh with every edge halved.

    Args:
        family: The family.
        tolerance: Tolerance to which its instances were solved.

    Attributes:
        finer: The family on the refined mesh, with the coefficient functions of the first one.
        discretisation: Its discretisation.

    Raises:
        ConfigError: As `require_refinable`.
    """

    def __init__(self, family: Family, tolerance: float) -> None:
        """Refine the mesh and discretise the family on it."""
        self.finer = _refine(require_refinable(family))
        with blamed(family):
            self.discretisation = self.finer.discretise(MPI.COMM_SELF)
        # One after another, and as DOLFINx assembles: each is solved once.
        self.discretisation.with_kernels = False
        direct = family.dimension < 3
        self._solve = SolveStrictly(family.operator, min(COARSE, tolerance), direct=direct)

    def estimate(self, instance: Instance, solution: Instance) -> dict[str, float]:
        """Return ||u_h - u_{h/2}|| / ||u_{h/2}|| of each field, at the grid's points in the domain.

        Args:
            instance: The parameters.
            solution: The stored solution u_h; of a trajectory all times count.

        Raises:
            KrylosetError: The instance cannot be solved on the refined mesh.
        """
        (found,) = self.discretisation.solve([instance], self._solve)
        fields = {field.name: found[field.name] for field in self.finer.fields}
        return relative_errors(fields, solution)


def _refine(family: FiniteElementFamily) -> FiniteElementFamily:
    """Return a family on a refined mesh, with the coefficient functions of the first one."""
    opened = make_open_domain(family, MPI.COMM_SELF)
    domain, refined = close_domain(family, opened), _halve_edges(opened)
    finer = copy(family)
    # No node but those of the grid is stored, so nothing is said of how many others there are.
    dofs = tuple(degrees_of_freedom(field, ragged=True) for field in family.fields)
    vars(finer).update(
        make_mesh=lambda comm: refined, between_points=_Functions(family, domain), unknowns=dofs
    )
    if isinstance(family, EvolutionFamily):
        vars(finer).update(initial_state=_InitialStates(family, domain))
    return finer


def _halve_edges(domain: FamilyMesh) -> FamilyMesh:
    """Return a refined mesh with the tags of the first one."""
    domain.topology.create_entities(1)
    tags = domain.cell_tags, domain.facet_tags
    if tags == (None, None):
        return FamilyMesh(mesh.refine(domain)[0])
    refined, *parents = mesh.refine(domain, option=RefinementOption.parent_cell_and_facet)
    for topology in (domain.topology, refined.topology):
        topology.create_connectivity(topology.dim - 1, topology.dim)
        topology.create_connectivity(topology.dim, topology.dim - 1)
    cells, facets = (t and mesh.transfer_meshtag(t, refined, *parents) for t in tags)
    return FamilyMesh(refined, cells, facets, domain.groups)


class _InitialStates:
    """Returns initial states as fields on the grid, also those that have degrees of freedom.

    These are evaluated on the first mesh. The degrees of freedom on the refined one then follow, as
    those of parameters do.
    """

    def __init__(self, family: EvolutionFamily, domain: FamilyMesh) -> None:
        self._family = family
        self._domain = domain

    def __call__(self, instance: Instance) -> dict[str, Array]:
        """Return the fields at time 0."""
        state, names = self._family.initial_state(instance), {f.name for f in self._family.fields}
        if names <= state.keys():
            return state
        known = self._elements.complete("initial_state", state)
        return {name: known[name] for name in names & known.keys()} | self._elements.evaluate(known)

    @cached_property
    def _elements(self) -> FiniteElements:
        return FiniteElements(self._family, self._domain)


class _Functions:
    """Evaluates functions on the grid at any points as finite element functions on a mesh."""

    def __init__(self, family: FiniteElementFamily, domain: mesh.Mesh) -> None:
        """Make the space in which parameters are, which is that of `fem.coefficients`."""
        element = basix.ufl.element("Lagrange", domain.basix_cell(), family.mesh.degree)
        self._family = family
        self._unknowns = Unknowns(fem.functionspace(domain, element))
        self._nodal = Grids(family).are_nodes(self._unknowns)
        # By the number of an array of points, which is kept so that no other has its number.
        self._evaluations: dict[int, tuple[Array, Evaluation]] = {}

    def __call__(self, values: Array, points: Array) -> Array:
        """Evaluate functions whose values on the grid are known, (*grid, ...)."""
        if id(points) not in self._evaluations:
            self._evaluations[id(points)] = points, Evaluation(self._unknowns, points)
        evaluation = self._evaluations[id(points)][1]
        rest = values.shape[len(self._family.coordinates) :]
        at_nodes: Any = values
        if not self._nodal:
            at_nodes = self._family.between_points(values, self._unknowns.points)
        columns = np.reshape(at_nodes, (len(self._unknowns.points), -1))
        return evaluation.of_lanes(columns).reshape(len(points), *rest)
