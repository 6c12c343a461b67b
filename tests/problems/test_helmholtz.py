# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waves against exact solutions, conservation of energy, finite differences and resonances."""

import re
from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from dolfinx import fem

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.problems import load_family
from kryloset.problems.finite_element import WeakForm
from kryloset.problems.helmholtz import (
    Helmholtz,
    HelmholtzAbsorbing,
    HelmholtzSettings,
    Waves,
    WaveSettings,
)
from kryloset.problems.tools.resonance import find_detuning
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims

ANGLE = 0.7
"""Direction of the plane wave, along neither an axis nor a diagonal."""


def make_family(name: str, points: int, degree: int = 1, **settings: object) -> Waves:
    """Return a family as a configuration gives it."""
    mesh = {"points": points, "degree": degree}
    return load_family(DatasetConfig(family=name, mesh=mesh, parameters=settings))


def make_mesh(cells: int, degree: int) -> MeshConfig:
    return MeshConfig(points=cells * degree + 1, degree=degree)


def on_grid(family: Waves, function: Callable[[np.ndarray, np.ndarray], object]) -> np.ndarray:
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    return np.asarray(function(x, y) + 0 * x)


# Exact solutions


@pytest.mark.parametrize("degree", [1, 2])
def test_reflected_waves_converge_at_the_theoretical_order(degree: int) -> None:
    # lap u = -5 pi^2 u for the exact solution u.
    def k(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 5 + 2 * x - y

    def exact(x: ufl.SpatialCoordinate) -> ufl.core.expr.Expr:
        return ufl.sin(ufl.pi * x[0]) * ufl.sin(2 * ufl.pi * x[1])

    def source(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        return (k(x, y) ** 2 - 5 * np.pi**2) * u

    errors = []
    for cells in (8, 16, 32):
        family = Helmholtz(HelmholtzSettings(), make_mesh(cells, degree))
        u = solve_instance(family, {"k": on_grid(family, k), "f": on_grid(family, source)})
        errors.append(l2_error(u, exact, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


class PlaneWave(HelmholtzAbsorbing):
    """The family with the values of du/dn - i k u for the plane wave exp(i k d . x), k = 8."""

    k = 8.0

    @classmethod
    def exact(cls, x: ufl.SpatialCoordinate) -> ufl.core.expr.Expr:
        """Return real and imaginary part."""
        phase = cls.k * (np.cos(ANGLE) * x[0] + np.sin(ANGLE) * x[1])
        return ufl.as_vector([ufl.cos(phase), ufl.sin(phase)])

    def weak_form(self, space, parameters) -> WeakForm:
        """Add i k (d . n - 1) u on the boundary to the family's load."""
        weak = super().weak_form(space, parameters)
        v, x = ufl.TestFunction(space), ufl.SpatialCoordinate(space.mesh)
        n = ufl.FacetNormal(space.mesh)
        factor = self.k * (np.cos(ANGLE) * n[0] + np.sin(ANGLE) * n[1] - 1)
        real, imaginary = self.exact(x)
        ds = ufl.ds(metadata={"quadrature_degree": 8})
        # The second row is the imaginary part times -1.
        return weak._replace(L=weak.L - factor * (imaginary * v[0] + real * v[1]) * ds)


@pytest.mark.parametrize("degree", [1, 2])
def test_a_plane_wave_converges_at_the_theoretical_order(degree: int) -> None:
    errors = []
    for cells in (8, 16, 32):
        family = PlaneWave(WaveSettings(), make_mesh(cells, degree))
        zero = on_grid(family, lambda x, y: 0.0)
        u = solve_instance(family, {"k": zero + PlaneWave.k, "f": zero})
        errors.append(l2_error(u, PlaneWave.exact, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


# Identities


@pytest.mark.parametrize("degree", [1, 2])
def test_the_boundary_absorbs_the_energy_of_the_source(degree: int) -> None:
    family = make_family("helmholtz_absorbing", 49, degree, wavelengths=3)
    instance = family.draw(generator(0, 0))
    discretisation = family.discretise(MPI.COMM_SELF)
    stored = discretisation.solve([instance], solve_directly)[0]
    u = fem.Function(discretisation.elements.space)
    discretisation.elements.read(stored, u.x.array)
    k, f = (discretisation.elements.parameters[name] for name in "kf")
    injected = fem.assemble_scalar(fem.form(-f * u[1] * ufl.dx))
    ds = ufl.ds(metadata={"quadrature_degree": 3 * degree})
    absorbed = fem.assemble_scalar(fem.form(k * ufl.inner(u, u) * ds))
    assert absorbed > 0
    assert injected == pytest.approx(absorbed, rel=1e-10)


@pytest.mark.parametrize("name", ["helmholtz", "helmholtz_absorbing"])
def test_source_and_receiver_are_reciprocal(name: str) -> None:
    family = make_family(name, 33, 2, wavelengths=2)
    discretisation = family.discretise(MPI.COMM_SELF)
    k = family.draw(generator(0, 0))["k"]
    loads, solutions = [], []
    for index in (1, 2):
        instance = {"k": k, "f": family.draw(generator(0, index))["f"]}
        stored = discretisation.solve([instance], solve_directly)[0]
        loads.append(discretisation.assemble(instance)[1].array_r.copy())
        x = np.zeros_like(loads[-1])
        discretisation.elements.read(stored, x)
        solutions.append(x)
    assert loads[0] @ solutions[1] == pytest.approx(loads[1] @ solutions[0], rel=1e-9)


# An independent discretisation


def finite_differences(k: np.ndarray, f: np.ndarray, absorbing: bool) -> np.ndarray:
    """Solve lap u + k^2 u = f by five-point differences, with mirrored points at the boundary."""
    n, h = len(k), 1 / (len(k) - 1)
    second = sp.diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)).tolil()
    side = sp.lil_array((n, n))
    if absorbing:
        # The point beyond the boundary has u(-h) = u(h) + 2 h i k u(0).
        second[0, 1] = second[-1, -2] = 2.0
        side[0, 0] = side[-1, -1] = 1.0
    identity = sp.eye_array(n)
    laplacian = (sp.kron(second, identity) + sp.kron(identity, second)) / h**2
    flow = (sp.kron(side, identity) + sp.kron(identity, side)) / h
    a = sp.csr_array(laplacian + sp.diags_array(k.ravel() ** 2))
    if absorbing:
        a = a + 2j * flow @ sp.diags_array(k.ravel())
        return scipy.sparse.linalg.spsolve(a.tocsc(), f.ravel().astype(complex)).reshape(n, n)
    inner = np.arange(n * n).reshape(n, n)[1:-1, 1:-1].ravel()
    u = np.zeros(n * n)
    u[inner] = scipy.sparse.linalg.spsolve(a[inner][:, inner].tocsc(), f.ravel()[inner])
    return u.reshape(n, n)


@pytest.mark.parametrize("name", ["helmholtz", "helmholtz_absorbing"])
def test_a_drawn_instance_approaches_its_finite_differences(name: str) -> None:
    differences = []
    for points in (65, 129):
        family = make_family(name, points, wavelengths=1.5)
        instance = family.draw(generator(0, 0))
        stored = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]
        absorbing = name == "helmholtz_absorbing"
        u = stored["u_real"] + 1j * stored["u_imag"] if absorbing else stored["u"]
        other = finite_differences(instance["k"], instance["f"], absorbing)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.3 * differences[0] < 0.02


# Resonance


def test_resonance_is_refused() -> None:
    family = make_family("helmholtz", 33, 2)
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = dict(family.draw(generator(0, 0)))
    for square in (5, 5 + 1e-4, 8):
        instance["k"] = on_grid(family, lambda x, y, s=square: np.sqrt(s) * np.pi)
        with pytest.raises(DataError, match=r"at resonance.*clearance 0.2.*helmholtz_absorbing"):
            discretisation.solve([instance], solve_directly)
    # Half way between 5 pi^2 and 8 pi^2.
    instance["k"] = on_grid(family, lambda x, y: np.sqrt(6.5) * np.pi)
    assert (
        discretisation.residual(instance, discretisation.solve([instance], solve_directly)[0])
        < 1e-9
    )


def test_detuning_of_a_constant_medium_is_that_of_the_known_eigenvalues() -> None:
    m = np.arange(1, 60)
    squares = np.pi**2 * (m[:, None] ** 2 + m**2)
    for k in (3.0, 17.3, 50.0):
        expected = abs(squares - k**2).min() / (4 * np.pi)
        assert find_detuning(np.full((129, 129), k)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("periodic", [(True, False), (False, True)])
def test_detuning_between_two_walls_is_that_of_the_known_eigenvalues(periodic: Any) -> None:
    """Waves exp(2 pi i m x) along the periodic axis, sines between the walls."""
    m = np.arange(60)
    squares = np.pi**2 * ((2 * m[:, None]) ** 2 + (m[1:] / 0.5) ** 2)
    sides = tuple(1.0 if closed else 0.5 for closed in periodic)
    shape = tuple(128 if closed else 65 for closed in periodic)
    for k in (7.0, 17.3, 50.0):
        expected = abs(squares - k**2).min() * 0.5 / (4 * np.pi)
        found = find_detuning(np.full(shape, k), sides, periodic)
        assert found == pytest.approx(expected, rel=1e-9)


def test_detuning_does_not_depend_on_where_a_periodic_medium_begins() -> None:
    config = DatasetConfig.model_validate(
        {"family": "helmholtz", "mesh": {"points": [32, 33], "periodic": ["x"]},
         "parameters": {"wavelengths": 1.2, "modes": 8}}
    )  # fmt: skip
    family = load_family(config)
    instance = family.draw(generator(0, 0))
    detuning = find_detuning(instance["k"], periodic=(True, False))
    assert detuning >= family.settings.clearance
    moved = np.roll(instance["k"], 5, axis=0)
    assert find_detuning(moved, periodic=(True, False)) == pytest.approx(detuning, rel=1e-9)
    discretisation = family.discretise(MPI.COMM_SELF)
    u, other = (
        discretisation.solve([each], solve_directly)[0]["u"]
        for each in (instance, {name: np.roll(v, 5, axis=0) for name, v in instance.items()})
    )
    np.testing.assert_allclose(other, np.roll(u, 5, axis=0), rtol=0, atol=1e-9 * abs(u).max())


def test_detuning_of_a_drawn_medium_is_that_of_finite_differences() -> None:
    points = 129
    n, h = points - 2, 1 / (points - 1)
    one = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)) / h**2
    stiffness = sp.kron(one, sp.eye_array(n)) + sp.kron(sp.eye_array(n), one)
    family = make_family("helmholtz", points, variation=0.6)
    for index in range(3):
        k = family.draw(generator(0, index))["k"]
        mass = sp.diags_array(k[1:-1, 1:-1].ravel() ** 2)
        mu = scipy.sparse.linalg.eigsh(
            stiffness.tocsc(), 3, mass.tocsc(), sigma=1.0, return_eigenvectors=False
        )
        expected = abs(mu - 1).min() * (k[:-1, :-1] ** 2).mean() / (4 * np.pi)
        assert find_detuning(k) == pytest.approx(expected, abs=0.03)


def test_drawn_media_keep_the_clearance_and_the_bound_on_u() -> None:
    family = make_family("helmholtz", 33, 2, source="field")
    discretisation = family.discretise(MPI.COMM_SELF)
    for index in range(5):
        instance = family.draw(generator(0, index))
        k, f = instance["k"], instance["f"]
        detuning = find_detuning(k)
        assert detuning >= family.settings.clearance
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        bound = (k**2).mean() / (4 * np.pi * detuning) * np.linalg.norm(f / k)
        # Means over the grid are integrals to a percent or so.
        assert np.linalg.norm(k * u) < 1.1 * bound


def test_a_medium_that_the_grid_cannot_resolve_is_refused() -> None:
    family = make_family("helmholtz", 33, 2)
    with pytest.raises(DataError, match="take a grid of at least"):
        family.check_instance({"k": on_grid(family, lambda x, y: 200.0)})
    with pytest.raises(DataError, match="not positive"):
        family.check_instance({"k": on_grid(family, lambda x, y: x)})


# What is drawn and declared


@pytest.mark.parametrize("name", ["helmholtz", "helmholtz_absorbing"])
@pytest.mark.parametrize("degree", [1, 2])
def test_operator_is_as_declared_and_indefinite(name: str, degree: int) -> None:
    family = make_family(name, 33, degree, wavelengths=1.2, modes=8)
    discretisation = family.discretise(MPI.COMM_SELF)
    solve = SolveAndKeep()
    for index in range(3):
        instance = family.draw(generator(0, index))
        stored = discretisation.solve([instance], solve)[0]
        assert discretisation.residual(instance, stored) < 1e-9
    assert false_claims(family.operator, solve.matrices) == []
    values = np.linalg.eigvalsh(solve.matrices[0].toarray())
    assert values[0] < 0 < values[-1]


@pytest.mark.parametrize("source", ["point", "field"])
@pytest.mark.parametrize("name", ["helmholtz", "helmholtz_absorbing"])
def test_a_finer_grid_sees_the_same_medium(name: str, source: str) -> None:
    coarse = make_family(name, 65, wavelengths=2, source=source)
    fine = make_family(name, 129, wavelengths=2, source=source)
    for index in range(3):
        one, two = (family.draw(generator(3, index)) for family in (coarse, fine))
        for key in ("k", "f"):
            np.testing.assert_allclose(two[key][::2, ::2], one[key], rtol=1e-9, atol=1e-9)
        relative = one["k"] / coarse.wavenumber
        assert 0.8 < relative.min() < 1 < relative.max() < 1.2


def test_a_point_source_has_integral_one() -> None:
    family = make_family("helmholtz_absorbing", 65, source_width=0.1, wavelengths=3)
    sources = [family.draw(generator(0, index))["f"] for index in range(20)]
    inside = [f for f in sources if max(f[0].max(), f[-1].max(), f[:, 0].max(), f[:, -1].max()) < 1]
    assert len(inside) > 10
    assert np.mean(inside) * 65**2 / 64**2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("name", "degree", "reason"),
    [
        ("helmholtz_absorbing", 1, "too few for elements of degree 1"),
        ("helmholtz_absorbing", 2, "too few for elements of degree 2"),
        ("helmholtz", 1, "moves resonances by more than half of parameters.clearance"),
        ("helmholtz", 2, "moves resonances by more than half of parameters.clearance"),
    ],
)
def test_too_coarse_a_grid_is_refused_and_the_one_proposed_is_taken(
    name: str, degree: int, reason: str
) -> None:
    points = {"helmholtz": 121, "helmholtz_absorbing": 81}[name]
    with pytest.raises(ConfigError, match=reason) as caught:
        make_family(name, points, degree, wavelengths=9)
    proposed = int(re.search(r"take at least (\d+)", str(caught.value))[1])
    make_family(name, proposed, degree, wavelengths=9)
    with pytest.raises(ConfigError, match=reason):
        make_family(name, proposed - degree, degree, wavelengths=9)


def test_settings_are_bounded() -> None:
    for settings, message in (
        ({"variation": 1.0}, "variation"),
        ({"wavelengths": 0}, "wavelengths"),
        ({"clearance": 0}, "clearance"),
        ({"modes": 64}, "parameters.modes 64 does not fit mesh.points 64"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_family("helmholtz", 64, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["helmholtz", "helmholtz_absorbing"])
def test_ten_wavelengths_a_side(name: str) -> None:
    family = make_family(name, 225, 2, wavelengths=10)
    instance = family.draw(generator(0, 0))
    discretisation = family.discretise(MPI.COMM_SELF)
    stored = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, stored) < 1e-9
    # The spectrum of the waves is concentrated at the wavenumber of the medium.
    field = stored["u" if name == "helmholtz" else "u_real"][:-1, :-1]
    window = np.hanning(224)
    power = abs(np.fft.fft2(field * np.outer(window, window))) ** 2
    m = np.fft.fftfreq(224, 1 / 224)
    waves = np.hypot(m[:, None], m)
    assert 8 < np.sum(waves * power) / np.sum(power) < 12
