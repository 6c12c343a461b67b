# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family with time steps on a mesh whose nodes are not the points of the grid."""

from pathlib import Path

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import numpy as np
import ufl
from dolfinx import mesh

from kryloset.config import Section
from kryloset.problems import (
    EvolutionFamily,
    OperatorTraits,
    Variable,
    WeakForm,
    degrees_of_freedom,
)
from small_sets import make_small

U = Variable("u", "temperature", "K")
SPLITS = {"train": 0.5, "valid": 0.25, "test": 0.25}


class Steps(Section):
    """Time steps."""

    steps: int = 6
    final_time: float = 0.006


class Cooling(EvolutionFamily):
    """u_t = a div grad u in a square without its middle, u = 0 on the boundary."""

    summary = "A plate with a hole that cools"
    equation = "u_t = a div grad u in (0, 1)^2 without [1/4, 3/4]^2, u = 0 on the boundary"
    Settings = Steps
    parameters = (
        Variable("u0", "initial temperature", "K"),
        Variable("a", "conductivity", dimensions=()),
    )
    fields = (U,)
    unknowns = (degrees_of_freedom(U),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def make_mesh(self, comm):
        """Return a mesh without the cells in the hole."""
        square = mesh.create_unit_square(comm, 12, 12)
        cells = np.arange(square.topology.index_map(2).size_local, dtype=np.int32)
        x, y, _ = mesh.compute_midpoints(square, 2, cells).T
        hole = np.maximum(abs(x - 0.5), abs(y - 0.5)) < 0.25
        return mesh.create_submesh(square, 2, cells[~hole])[0]

    def draw(self, generator):
        """Draw waves and a number."""
        lines = [np.sin(np.pi * np.outer((1, 2, 3), x)) for x in self.coordinates.values()]
        waves = np.einsum("ij,ix,jy->xy", generator.standard_normal((3, 3)), *lines)
        return {"u0": waves, "a": generator.uniform(0.5, 1)}

    def initial_state(self, instance):
        """Return u0 on the grid."""
        return {"u": instance["u0"]}

    def weak_form(self, space, parameters, step):
        """Return a step of the implicit Euler method."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        flux = parameters["a"] * ufl.inner(ufl.grad(u), ufl.grad(v))
        return WeakForm((u * v + step.size * flux) * ufl.dx, step.previous[0] * v * ufl.dx)


def cooling(**changes):
    """Return the settings of a small set, for `small_config` and `make_small`."""
    usual = {
        "family": f"{__file__}:Cooling",
        "parameters": {},
        "splits": SPLITS,
        "mesh": {"points": 9, "grids": [7]},
    }
    return usual | changes


def make_cooling(path: Path) -> Path:
    """Make eight instances, of which four are learned from."""
    return make_small(path, "poisson", **cooling(count=8))
