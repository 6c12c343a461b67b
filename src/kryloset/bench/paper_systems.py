# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The systems of the SKR paper's tables, and the figures published for them.

`docs/measurements/paper.md` says what the systems are, and how the published ones differ from
the text of the paper.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.bench.sequences import make_sequence
from kryloset.bench.solvers import Operator
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
    """What the paper's Table 1 says of one set.

    Attributes:
        size: n, as published.
        tolerances: Three of them.
        time: By preconditioner the time of GMRES(40) over that of SKR, a tolerance each.
        iterations: The same for iterations; None where no figure is at hand.
    """

    size: int
    tolerances: tuple[float, float, float]
    time: Mapping[str, tuple[float, float, float]]
    iterations: Mapping[str, tuple[float, float, float] | None]


PUBLISHED = {
    "darcy": Figures(
        6400,
        (1e-2, 1e-5, 1e-8),
        time={
            "none": (2.62, 2.92, 2.70),
            "jacobi": (2.88, 3.42, 3.09),
            "bjacobi": (3.21, 4.07, 4.00),
            "sor": (2.69, 3.45, 3.54),
            "asm": (2.23, 3.66, 4.53),
            "icc": (1.97, 3.18, 4.11),
            "ilu": (1.93, 3.08, 3.70),
        },
        iterations={
            "none": (19.2, 21.1, 19.1),
            "jacobi": (22.6, 24.5, 22.9),
            "bjacobi": (23.6, 28.6, 27.5),
            "sor": (23.3, 27.9, 27.5),
            "asm": (13.4, 22.2, 25.8),
            "icc": (9.55, 14.9, 18.9),
            "ilu": (9.44, 14.4, 17.2),
        },
    ),
    "thermal": Figures(
        11063,
        (1e-5, 1e-8, 1e-11),
        time={
            "none": (4.53, 5.35, 5.47),
            "jacobi": (3.32, 3.06, 2.93),
            "bjacobi": (2.38, 2.73, 3.05),
            "sor": (1.96, 2.34, 2.62),
            "asm": (2.46, 2.83, 3.14),
            "icc": (2.40, 2.77, 3.08),
            "ilu": (2.35, 2.69, 3.01),
        },
        iterations={
            "none": (20.8, 23.6, 24.9),
            "jacobi": (15.0, 13.5, 12.8),
            "bjacobi": (10.3, 11.1, 11.7),
            "sor": (8.8, 9.3, 10.2),
            "asm": (10.3, 11.1, 11.7),
            "icc": None,
            "ilu": None,
        },
    ),
    "poisson": Figures(
        71313,
        (1e-5, 1e-8, 1e-11),
        time={
            "none": (1.27, 1.74, 1.90),
            "jacobi": (1.28, 1.75, 1.91),
            "bjacobi": (1.13, 1.19, 1.19),
            "sor": (1.19, 1.35, 1.33),
            "asm": (1.46, 1.94, 2.12),
            "icc": (0.99, 1.32, 1.42),
            "ilu": (0.98, 1.30, 1.38),
        },
        iterations={
            "none": (4.69, 6.29, 6.83),
            "jacobi": None,
            "bjacobi": (3.87, 3.97, 3.95),
            "sor": None,
            "asm": None,
            "icc": (3.92, 4.83, 5.13),
            "ilu": (3.92, 4.87, 5.13),
        },
    ),
    "helmholtz": Figures(
        10000,
        (1e-2, 1e-5, 1e-7),
        time={
            "none": (7.74, 7.61, 6.47),
            "jacobi": (8.44, 8.62, 7.96),
            "bjacobi": (8.83, 11.4, 11.3),
            "sor": (8.37, 10.5, 10.6),
            "asm": (10.6, 13.1, 13.9),
            "icc": (4.77, 6.38, 6.72),
            "ilu": (3.88, 6.13, 6.34),
        },
        iterations={
            "none": (17.3, 16.5, 13.7),
            "jacobi": (20.3, 20.0, 18.1),
            "bjacobi": (21.5, 26.5, 26.2),
            "sor": (22.3, 26.2, 25.9),
            "asm": (25.4, 29.3, 30.0),
            "icc": (21.4, 28.3, 29.3),
            "ilu": (17.6, 27.2, 28.0),
        },
    ),
}
"""Table 1, GMRES(40) over SKR, typed from lines 76 to 83 of this project's dossier skr.md."""

ABLATION: Mapping[str, Mapping[str, float]] = {
    "skr": {"seconds": 0.101, "iterations": 183.9, "delta": 0.90},
    "unsorted": {"seconds": 0.114, "iterations": 202.5, "delta": 0.95},
}
"""Table 2, SKR on Darcy with SOR, n = 10,000: the same, line 111."""

BEST_TIME = 13.9
"""Largest time ratio of Table 1."""


@dataclass(frozen=True)
class Systems:
    """Where the systems of a set come from, and how many processes the paper gave them.

    Attributes:
        kind: Kind of `make_sequence`, or name in `FAMILIES`.
        family: Whether it is one.
        size: Interior points a side of a sequence, grid points of a family, in a full run.
        count: Systems counted there.
        processes: The paper's, in whose blocks bjacobi, asm and sor act; icc and ilu had one.
        quick: The size in a quick run: everything is there, and no figure means anything.
    """

    kind: str
    family: bool
    size: int
    count: int
    processes: int
    quick: int = 21


type Role = Literal["published", "right"]

SETS: Mapping[str, Mapping[Role, Systems]] = {
    "darcy": {
        "published": Systems("published", False, 78, 6, 72),
        "right": Systems("darcy", False, 78, 6, 72),
    },
    "thermal": {
        "published": Systems("published_thermal", True, 125, 4, 1),
        "right": Systems("thermal", True, 125, 4, 1),
    },
    "poisson": {"published": Systems("published_poisson", True, 143, 3, 5)},
    "helmholtz": {
        "published": Systems("published_helmholtz", False, 98, 5, 72),
        # A coarser mesh would move resonances by more than the family allows.
        "right": Systems("helmholtz", True, 100, 2, 72, quick=59),
    },
}
"""The four sets. Those of Poisson are right as published; n is less than the paper's."""


class Source(Protocol):
    """A sequence of systems.

    Attributes:
        unknowns: n.
        features: (systems, numbers), what they are sorted by.
    """

    unknowns: int
    features: Array

    def load(self, number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return A and b, in storage that all systems share."""


class ReferenceSource:
    """A reference sequence."""

    def __init__(self, kind: str, size: int, count: int) -> None:
        """Draw the systems."""
        systems = make_sequence(kind, size, count, drawn=max(DRAWN, count), strength=STRENGTH)
        # The paper's distance for Helmholtz adds that of the wavenumbers.
        fields = systems.parameters.reshape(count, -1)
        self.features = np.column_stack([fields, systems.wavenumbers])
        self.unknowns = size**2
        self._operator = Operator(systems, MPI.COMM_SELF)

    def load(self, number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Put the entries into the Mat."""
        self._operator.fill(number)
        return self._operator.mat, self._operator.rhs


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


class FamilySource:
    """Instances of a family."""

    def __init__(self, name: str, points: int, count: int) -> None:
        """Draw the instances."""
        family = FAMILIES[name](points)
        self._instances = [family.draw(generator(0, index)) for index in range(count)]
        self.features = np.stack([family.features(i) for i in self._instances])
        self._discretisation: Any = family.discretise(MPI.COMM_SELF)
        self._inside: _Inside | None = None
        if name in ELIMINATED:
            self._inside = _Inside(self.load(0)[0])
        self.unknowns = self.load(0)[0].getSize()[0]

    def load(self, number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Assemble; a constant matrix is left as it is, and preconditioners with it."""
        operator, rhs = self._discretisation.assemble(self._instances[number])
        return (operator, rhs) if self._inside is None else self._inside.restrict(rhs)


class _Inside:
    """A matrix without the rows that are those of the identity, and without their columns."""

    def __init__(self, operator: PETSc.Mat) -> None:
        indptr, indices, values = operator.getValuesCSR()
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        coupled = np.zeros(len(indptr) - 1, dtype=bool)
        coupled[rows[(values != 0) & (rows != indices)]] = True
        self._unknowns = np.flatnonzero(coupled).astype(PETSc.IntType)
        chosen = PETSc.IS().createGeneral(self._unknowns, comm=MPI.COMM_SELF)
        self._operator = operator.createSubMatrix(chosen, chosen)
        self._rhs = self._operator.createVecLeft()

    def restrict(self, rhs: PETSc.Vec) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return the system that is left; what is prescribed is in b already."""
        self._rhs.setArray(rhs.array_r[self._unknowns])
        return self._operator, self._rhs


def make_source(systems: Systems, size: int, count: int) -> Source:
    """Return the first systems of a set at a size a side."""
    return (FamilySource if systems.family else ReferenceSource)(systems.kind, size, count)
