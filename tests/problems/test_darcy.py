# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Darcy flow against manufactured solutions and an independent discretisation."""

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from directly import solve_directly

from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.problems import LatticeFamily, Variable, WeakForm, load_family
from kryloset.problems.darcy import Darcy, DarcySettings
from kryloset.problems.lattice_discretisation import LatticeDiscretisation
from kryloset.sampling import generator


class Manufactured(LatticeFamily):
    """Darcy with k drawn as given and the source of u = sin(pi x) sin(2 pi y)."""

    parameters = Darcy.parameters
    fields = Darcy.fields
    operator = Darcy.operator

    def draw(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return k = 1 + x + y^2 on the lattice."""
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"k": 1 + x + y**2}

    def weak_form(self, space, parameters) -> WeakForm:
        """Return Darcy's a, with f = -div(k grad u)."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        x = ufl.SpatialCoordinate(space.mesh)
        exact = ufl.sin(ufl.pi * x[0]) * ufl.sin(2 * ufl.pi * x[1])
        source = -ufl.div((1 + x[0] + x[1] ** 2) * ufl.grad(exact))
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, source * v * ufl.dx)


def error_l2(degree: int, cells: int) -> float:
    """Return the L2 error of the manufactured problem, integrated on the elements."""
    from dolfinx import fem

    family = Manufactured(DarcySettings(), MeshConfig(points=cells * degree + 1, degree=degree))
    discretisation = family.discretise(MPI.COMM_SELF)
    matrix, rhs = discretisation.assemble(family.draw(generator(0, 0)))
    u = fem.Function(discretisation.space)
    u.x.array[:] = solve_directly(matrix, rhs).array_r
    x = ufl.SpatialCoordinate(discretisation.space.mesh)
    exact = ufl.sin(ufl.pi * x[0]) * ufl.sin(2 * ufl.pi * x[1])
    return float(np.sqrt(fem.assemble_scalar(fem.form((u - exact) ** 2 * ufl.dx))))


@pytest.mark.parametrize("degree", [1, 2])
def test_solution_converges_at_the_theoretical_order(degree: int) -> None:
    errors = [error_l2(degree, cells) for cells in (8, 16, 32)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] > degree + 1 - 0.1


@pytest.fixture(params=[(17, 1), (17, 2)], ids=["P1", "P2"])
def discretisation(request: pytest.FixtureRequest) -> LatticeDiscretisation:
    points, degree = request.param
    dataset = DatasetConfig(mesh={"points": points, "degree": degree}, parameters={"modes": 8})
    return load_family(dataset).discretise(MPI.COMM_SELF)


def test_operator_is_as_declared(discretisation: LatticeDiscretisation) -> None:
    family = discretisation.family
    for index in range(3):
        matrix, _ = discretisation.assemble(family.draw(generator(0, index)))
        rows, columns, entries = matrix.getValuesCSR()
        a = sp.csr_array((entries, columns, rows), shape=matrix.size).toarray()
        assert abs(a - a.T).max() <= 1e-14 * abs(a).max()
        assert np.linalg.eigvalsh(a).min() > 0


def test_storage_is_reused_and_left_clean(discretisation: LatticeDiscretisation) -> None:
    family = discretisation.family
    first = discretisation.solve(family.draw(generator(0, 0)), solve_directly)["u"]
    handle = discretisation.matrix.handle
    discretisation.solve(family.draw(generator(0, 1)), solve_directly)
    again = discretisation.solve(family.draw(generator(0, 0)), solve_directly)["u"]
    assert discretisation.matrix.handle == handle
    assert np.array_equal(first, again)


def test_residual_is_that_of_the_stored_field(discretisation: LatticeDiscretisation) -> None:
    instance = discretisation.family.draw(generator(0, 0))
    fields = discretisation.solve(instance, solve_directly)
    assert discretisation.residual(instance, fields) < 1e-12
    # One changed unknown must show: it moves the residual by the norm of a column of A.
    changed = {"u": fields["u"].copy()}
    changed["u"][5, 7] += 1e-3
    assert discretisation.residual(instance, changed) > 1e-4


def test_solution_obeys_the_maximum_principle_and_scales(
    discretisation: LatticeDiscretisation,
) -> None:
    instance = discretisation.family.draw(generator(0, 4))
    u = discretisation.solve(instance, solve_directly)["u"]
    assert u[0].max() == u[-1].max() == u[:, 0].max() == u[:, -1].max() == 0
    assert u[1:-1, 1:-1].min() > 0
    halved = discretisation.solve({"k": 2 * instance["k"]}, solve_directly)["u"]
    np.testing.assert_allclose(halved, u / 2, rtol=1e-12, atol=1e-15)


def test_axes_are_x_then_y(discretisation: LatticeDiscretisation) -> None:
    # k large for x > 1/2 flattens u there, whatever y.
    points = discretisation.family.mesh.points
    k = np.ones((points, points))
    k[points // 2 + 1 :] = 100
    u = discretisation.solve({"k": k}, solve_directly)["u"]
    assert u[3 * points // 4].max() < 0.2 * u[points // 4].max()
    np.testing.assert_allclose(u, u[:, ::-1], atol=2e-2 * u.max())


def finite_differences(k: np.ndarray) -> np.ndarray:
    """Solve -div(k grad u) = 1 by five-point differences with arithmetic face means."""
    n, h = k.shape[0] - 2, 1 / (k.shape[0] - 1)
    c = k[1:-1, 1:-1]
    west, east, south, north = (
        (c + o) / 2 for o in (k[:-2, 1:-1], k[2:, 1:-1], k[1:-1, :-2], k[1:-1, 2:])
    )
    centre = west + east + south + north
    west, south = west.copy(), south.copy()
    south[:, 0] = 0
    bands = [-west.ravel()[n:], -south.ravel()[1:], centre.ravel()]
    upper_y = north.copy()
    upper_y[:, -1] = 0
    bands += [-upper_y.ravel()[:-1], -east.ravel()[:-n]]
    a = sp.diags_array(bands, offsets=[-n, -1, 0, 1, n], shape=(n * n, n * n)).tocsc()
    u = np.zeros_like(k)
    u[1:-1, 1:-1] = scipy.sparse.linalg.spsolve(a, np.full(n * n, h**2)).reshape(n, n)
    return u


def test_both_elements_approach_the_finite_differences_of_a_drawn_instance() -> None:
    differences = []
    for points in (33, 65):
        dataset = DatasetConfig(mesh={"points": points}, parameters={"modes": 8})
        family = load_family(dataset)
        instance = family.draw(generator(0, 0))
        u = family.discretise(MPI.COMM_SELF).solve(instance, solve_directly)["u"]
        other = finite_differences(instance["k"])
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.3 * differences[0] < 0.01


def test_number_of_modes_must_fit_the_grid() -> None:
    dataset = DatasetConfig(mesh={"points": 17}, parameters={"modes": 17})
    with pytest.raises(ConfigError, match=r"parameters.modes 17 is not less than mesh.points 17"):
        load_family(dataset)


def test_bad_parameters_are_refused(discretisation: LatticeDiscretisation) -> None:
    with pytest.raises(DataError, match="has shape"):
        discretisation.assemble({"k": np.ones((3, 3))})
    with pytest.raises(DataError, match="not finite"):
        discretisation.assemble({"k": np.full((17, 17), np.nan)})


def test_variables_name_their_transform() -> None:
    assert Darcy.parameters == (Variable("k", "permeability", transform="log"),)
