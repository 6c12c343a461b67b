# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family's own grid: fields are evaluated, and parameters read, at its own coordinates."""

from pathlib import Path
from typing import Any, ClassVar

from mpi4py import MPI

import numpy as np
import pytest
import ufl
from dolfinx import mesh

from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig, Section
from kryloset.dataset.layout import grid_coordinates
from kryloset.errors import ConfigError, FamilyError
from kryloset.problems import (
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
    degrees_of_freedom,
    load_family,
)

U = Variable("u", "u")


class Projection(SteadyFamily):
    """u is the projection of the parameter f, and equal to it if f is linear."""

    dimensions = (2, 1, 3)
    parameters: tuple[Variable, ...] = (Variable("f", "f"),)
    fields: tuple[Variable, ...] = (U,)
    operator = OperatorTraits(symmetric=True, definite=True)
    lines: ClassVar[dict[str, Any]]

    @property
    def coordinates(self) -> dict[str, Any]:
        """Return the lines of the test."""
        return self.lines

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw x + 2 y + 3 z."""
        axes = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"f": np.asarray(sum((n + 1) * x for n, x in enumerate(axes)))}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the projection."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(u * v * ufl.dx, parameters["f"] * v * ufl.dx, boundary=())


def clustered(points: int, end: float = 1.0) -> np.ndarray:
    return end * (1 - np.cos(np.pi * np.linspace(0, 1, points))) / 2


LINES = {
    "rectangle": {"x": np.linspace(1, 5, 17), "y": np.linspace(0, 1, 5)},
    "line": {"x": np.linspace(-1, 1, 6)},
    "box": {"x": np.linspace(0, 1, 3), "y": np.linspace(0, 2, 5), "z": np.linspace(0, 1, 4)},
    "clustered": {"x": clustered(13, 2.0), "y": clustered(5)},
}


@pytest.mark.parametrize("kind", LINES)
def test_the_mesh_has_its_nodes_at_the_points_of_the_grid(kind: str) -> None:
    class Own(Projection):
        lines: ClassVar = LINES[kind]

        def make_mesh(self, comm: Any) -> Any:
            domain = super().make_mesh(comm)
            for number, line in enumerate(self.lines.values()):
                equal = np.linspace(line[0], line[-1], len(line))
                along = domain.geometry.x[:, number]
                along[:] = np.interp(along, equal, line)
            return domain

    dimension: Any = len(LINES[kind])
    family = Own(Section(), MeshConfig(points=9, dimension=dimension, grids=(6,)))
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    assert discretisation.elements.parts[0].nodal
    instance = family.draw(None)
    stored = discretisation.solve([instance], solve_directly)[0]
    np.testing.assert_allclose(stored["u"], instance["f"], atol=1e-12)
    assert discretisation.residual(instance, stored) < 1e-12

    further = discretisation.resample(6, instance, stored)
    axes = np.meshgrid(*grid_coordinates(family, 6).values(), indexing="ij")
    expected = sum((n + 1) * x for n, x in enumerate(axes))
    np.testing.assert_allclose(further["u"], expected, atol=1e-12)
    np.testing.assert_allclose(further["f"], expected, atol=1e-12)


class OnAnotherMesh(Projection):
    """The unknowns are not at the points of the grid."""

    lines: ClassVar = {"x": clustered(13, 2.0), "y": np.linspace(-1, 1, 5)}
    unknowns = (degrees_of_freedom(U),)

    def make_mesh(self, comm: Any) -> Any:
        """Return equal cells."""
        return mesh.create_rectangle(comm, [np.array([0, -1]), np.array([2, 1])], (4, 4))


def test_fields_are_evaluated_at_grid_points_that_are_not_nodes() -> None:
    family = OnAnotherMesh(Section(), MeshConfig(points=9, grids=(6,)))
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(None)
    stored = discretisation.solve([instance], solve_directly)[0]
    assert stored["u"].shape == (13, 5)
    assert stored["u_dofs"].shape == (25,)
    np.testing.assert_allclose(stored["u"], instance["f"], atol=1e-12)
    further = discretisation.resample(6, instance, stored)
    np.testing.assert_allclose(further["f"], further["u"], atol=1e-12)


def test_a_mesh_whose_nodes_are_not_stored_is_refused() -> None:
    class Lost(OnAnotherMesh):
        unknowns = ()

    with pytest.raises(FamilyError, match="u are not at the points of the grid: add degrees_of_fr"):
        Lost(Section(), MeshConfig(points=9)).discretise(MPI.COMM_SELF)


def test_elements_of_degree_two_need_an_odd_number_of_points() -> None:
    class Own(Projection):
        lines: ClassVar = {"x": np.linspace(0, 1, 9), "y": np.linspace(0, 1, 6)}

    with pytest.raises(ConfigError, match=r"6 points along y do not fit mesh.degree 2.*take 7"):
        Own(Section(), MeshConfig(points=9, degree=2)).discretise(MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("x, np.array([0.0, 2.0, 1.0])", "along y do not ascend: 2 is followed by 1"),
        ("np.array([0, 0, 1]), x", "along x do not ascend: 0 is followed by 0"),
        ("x, np.array([0, np.nan, 1])", "along y are not finite"),
        ("x, np.ones((2, 2))", r"along y have the shape \(2, 2\)"),
        ("x, 'abc'", "along y are not numbers"),
        ("x, 1j * x", "along y are not real numbers"),
        ("x, x[:1]", "along y are 1 and must be two or more"),
        ("[0, 1], x", "along x are a list"),
        ("x,", "the axes x but the domain has 2 dimensions"),
        ("1 / 0,", "line 12 of mine.py: ZeroDivisionError"),
    ],
)
def test_coordinates_that_are_not_valid_are_refused_before_any_work(
    lines: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from kryloset.problems import SteadyFamily, Variable\n"
        "class Mine(SteadyFamily):\n"
        "    summary = equation = 'a'\n"
        "    parameters = (Variable('f', 'f'),)\n"
        "    fields = (Variable('u', 'u'),)\n"
        "    def draw(self, generator): ...\n"
        "    def weak_form(self, space, parameters): ...\n"
        "    @property\n"
        "    def coordinates(self):\n"
        "        x = np.arange(3)\n"
        f"        return dict(zip('xy', ({lines})))\n"
    )
    with pytest.raises(FamilyError, match=rf"mine.py:Mine, coordinates.*{message}"):
        load_family(DatasetConfig(family=f"{tmp_path / 'mine.py'}:Mine", mesh={"points": 3}))
