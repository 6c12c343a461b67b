# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The systems of the SKR paper's tables, and the figures published for them.

`docs/measurements/paper.md` says what the systems are, and how the published ones differ from
the text of the paper.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.sequences import Operator, make_sequence
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.problems import Dirichlet, Family, WeakForm, load_family
from kryloset.problems.base import Array
from kryloset.problems.thermal import SLAB, Thermal, ThermalSettings
from kryloset.sampling import generator

DRAWN = 100
"""Systems of a sequence of the paper; Table 2 takes them all, Table 1 the first few."""

STRENGTH = 1 / math.sqrt(2)
"""Of the fields log a: the script's random numbers are complex, their real part of variance 1/2."""


@dataclass(frozen=True)
class Figures:
    """What the paper's Table 1 says of one set, of n unknowns and with three tolerances.

    Attributes:
        time: By preconditioner the time of GMRES(40) over that of SKR, a tolerance each.
        iterations: The same for iterations; None where no figure is at hand.
    """

    size: int
    tolerances: Sequence[float]
    time: Mapping[str, Sequence[float]]
    iterations: Mapping[str, Sequence[float] | None]


_FIGURES = json.loads(Path(__file__).with_name("paper_published.json").read_text("utf-8"))

PUBLISHED = {name: Figures(**figures) for name, figures in _FIGURES["table_1"].items()}
"""Table 1, GMRES(40) over SKR."""

ABLATION: Mapping[str, Mapping[str, float]] = _FIGURES["table_2"]
"""Table 2, SKR on Darcy with SOR, n = 10,000."""

BEST_TIME = 13.9
"""Largest time ratio of Table 1."""


@dataclass(frozen=True)
class Systems:
    """Where the systems of a set come from, and how many processes the paper gave them.

    Attributes:
        kind: Name in `FAMILIES`, else kind of `make_sequence`.
        size: Interior points a side of a sequence, grid points of a family, in a full run.
        count: Systems counted there.
        processes: The paper's, in whose blocks bjacobi, asm and sor act; icc and ilu had one.
        quick: The size in a quick run: everything is there, and no figure means anything.
    """

    kind: str
    size: int
    count: int
    processes: int
    quick: int = 21


type Role = Literal["published", "right"]

SETS: Mapping[str, Mapping[Role, Systems]] = {
    "darcy": {
        "published": Systems("published", 78, 6, 72),
        "right": Systems("darcy", 78, 6, 72),
    },
    "thermal": {
        "published": Systems("published_thermal", 125, 4, 1),
        "right": Systems("thermal", 125, 4, 1),
    },
    "poisson": {"published": Systems("published_poisson", 143, 3, 5)},
    "helmholtz": {
        "published": Systems("published_helmholtz", 98, 5, 72),
        # A coarser mesh would move resonances by more than the family allows.
        "right": Systems("helmholtz", 100, 2, 72, quick=59),
    },
}
"""The four sets. Those of Poisson are right as published; n is less than the paper's."""


@dataclass(frozen=True, eq=False)
class Source:
    """A sequence of systems.

    Attributes:
        unknowns: n.
        features: (systems, numbers), what they are sorted by.
        load: Returns A and b of a system, in storage that all systems share.
    """

    unknowns: int
    features: Array
    load: Callable[[int], tuple[PETSc.Mat, PETSc.Vec]]


def draw_reference(kind: str, size: int, count: int) -> Source:
    """Return a reference sequence."""
    systems = make_sequence(kind, size, count, drawn=max(DRAWN, count), strength=STRENGTH)
    # The paper's distance for Helmholtz adds that of the wavenumbers.
    features = np.column_stack([systems.parameters.reshape(count, -1), systems.wavenumbers])
    return Source(size**2, features, Operator(systems, MPI.COMM_SELF).load)


class PublishedThermal(Thermal):
    """Heat in the slab with a slot as the paper's script has it, not its text.

    The left side has a temperature and the right one a flux; slot and other sides are
    insulated.
    """

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(T, v) = (grad T, grad v) and L(v) = (flux, v) on the right side."""
        import dolfinx.mesh
        import ufl

        t, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        domain = space.mesh
        right = SLAB[:, 0].max()
        facets = dolfinx.mesh.locate_entities_boundary(domain, 1, lambda x: np.isclose(x[0], right))
        tags = dolfinx.mesh.meshtags(
            domain, 1, np.sort(facets), np.ones(len(facets), dtype=np.int32)
        )
        ds = ufl.Measure("ds", domain=domain, subdomain_data=tags)
        return WeakForm(
            ufl.inner(ufl.grad(t), ufl.grad(v)) * ufl.dx,
            parameters["flux"] * v * ds(1),
            (Dirichlet(parameters["left"], lambda x: np.isclose(x[0], -right)),),
        )


FAMILIES: Mapping[str, Callable[[int], Family]] = {
    "published_thermal": lambda points: PublishedThermal(
        ThermalSettings(left=(0.0, 100.0), flux=(-100.0, 0.0)),
        MeshConfig(points=points, degree=2),
    ),
    "published_poisson": lambda points: _load("poisson", points, 2),
    "thermal": lambda points: _load("thermal", points, 2),
    "helmholtz": lambda points: _load("helmholtz", points, 1),
}
"""Families on so many points a side; elements are quadratic where MATLAB's were."""

ELIMINATED = ("published_thermal", "published_poisson")
"""Those without the equations of prescribed unknowns, as MATLAB makes them.

Those would be in the norm of b, and every tolerance would be a looser one. The matrix of both is
constant.
"""


def _load(name: str, points: int, degree: Literal[1, 2]) -> Family:
    return load_family(DatasetConfig(family=name, mesh=MeshConfig(points=points, degree=degree)))


def draw_instances(name: str, points: int, count: int) -> Source:
    """Return instances of one of `FAMILIES`."""
    family = FAMILIES[name](points)
    instances = [family.draw(generator(0, index)) for index in range(count)]
    features = np.stack([family.features(instance) for instance in instances])
    discretisation: Any = family.discretise(MPI.COMM_SELF)

    def load(number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        # A constant matrix is left as it is, and preconditioners with it.
        operator, rhs = discretisation.assemble(instances[number])
        return operator, rhs

    operator = load(0)[0]
    if name not in ELIMINATED:
        return Source(operator.getSize()[0], features, load)
    unknowns = find_coupled(operator)
    chosen = PETSc.IS().createGeneral(unknowns, comm=MPI.COMM_SELF)
    inside = operator.createSubMatrix(chosen, chosen)
    right = inside.createVecLeft()

    def load_inside(number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        # What is prescribed is in b already.
        right.setArray(load(number)[1].array_r[unknowns])
        return inside, right

    return Source(len(unknowns), features, load_inside)


def find_coupled(operator: PETSc.Mat) -> NDArray[Any]:
    """Return the numbers of the rows of a matrix that are not those of a diagonal one."""
    indptr, indices, values = operator.getValuesCSR()
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return np.unique(rows[(values != 0) & (rows != indices)]).astype(PETSc.IntType)


def make_source(systems: Systems, size: int, count: int) -> Source:
    """Return the first systems of a set at a size a side."""
    draw = draw_instances if systems.kind in FAMILIES else draw_reference
    return draw(systems.kind, size, count)
