# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Elasticity against exact solutions, theorems and independent bilinear elements."""

from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
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
from kryloset.fem.linear_system import rigid_body_motions
from kryloset.problems import Family, Instance, OperatorTraits, load_family
from kryloset.problems.elasticity import (
    Elasticity,
    ElasticitySettings,
    IncompressibleElasticity,
    IncompressibleElasticitySettings,
)
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims
from solve_on_ranks import solve_on_ranks


def make(
    family: str = "elasticity",
    points: int = 9,
    degree: int = 1,
    dimension: int = 2,
    **parameters: Any,
) -> Any:
    """Return a family by its configuration, with few modes."""
    dataset = DatasetConfig(
        family=family,
        mesh={"points": points, "degree": degree, "dimension": dimension},
        parameters={"modes": 4} | parameters,
        solver={"method": "direct"},
    )
    return load_family(dataset)


def lame(modulus: Any, ratio: float) -> tuple[Any, Any]:
    """Return the Lame constants lambda and mu."""
    return modulus * ratio / ((1 + ratio) * (1 - 2 * ratio)), modulus / (2 * (1 + ratio))


# Exact solutions: the family's own bilinear form, with loads that follow from the solution.


def exact_displacement(x: Any) -> Any:
    """Return a displacement that is zero where x = 0."""
    z = x[2] if len(x) == 3 else 0
    u = [
        ufl.sin(x[0]) * ufl.cos(x[1] + z),
        x[0] * ufl.exp(x[1] - z),
        x[0] ** 2 * ufl.cos(x[1]) * ufl.sin(1 + z),
    ]
    return ufl.as_vector(u[: len(x)])


def solenoidal_displacement(x: Any) -> Any:
    """Return curl(0, 0, x^2 sin(y) cos(z)), which is zero where x = 0."""
    along = ufl.cos(x[2]) if len(x) == 3 else 1
    u = [x[0] ** 2 * ufl.cos(x[1]) * along, -2 * x[0] * ufl.sin(x[1]) * along, 0]
    return ufl.as_vector(u[: len(x)])


def exact_pressure(x: Any) -> Any:
    """Return a generic pressure."""
    return ufl.cos(x[0] + 2 * x[1]) + (x[2] ** 2 if len(x) == 3 else 0)


def exact_modulus(x: Any) -> Any:
    """Return a generic modulus."""
    return 1 + x[0] + x[1] ** 2


def strain(u: Any) -> Any:
    """Return the strain."""
    return (ufl.grad(u) + ufl.grad(u).T) / 2


class Exact:
    """A family with the displacement `displacement` and the modulus `modulus`.

    With a pressure it is `pressure`; of a displacement with a divergence, there is a source.
    """

    displacement = staticmethod(exact_displacement)
    modulus = staticmethod(exact_modulus)
    pressure = staticmethod(exact_pressure)

    def draw(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the modulus, and no traction."""
        x = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"E": self.modulus(x) + 0 * x[0], "traction": np.zeros(self.dimension)}

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Replace the drawn loads by those of the exact solution."""
        mixed = space.num_sub_spaces == 2 and isinstance(self, IncompressibleElasticity)
        x, n = ufl.SpatialCoordinate(space.mesh), ufl.FacetNormal(space.mesh)
        v, q = ufl.TestFunctions(space) if mixed else (ufl.TestFunction(space), None)
        u, identity = self.displacement(x), ufl.Identity(self.dimension)
        ratio = self.settings.poisson_ratio
        stress = self.modulus(x) / (1 + ratio) * strain(u)
        if mixed:
            p = self.pressure(x)
            stress -= p * identity
            source = ufl.div(u) + p * (1 + ratio) * (1 - 2 * ratio) / (self.modulus(x) * ratio)
        else:
            stress += lame(self.modulus(x), ratio)[0] * ufl.div(u) * identity
        load = -ufl.inner(ufl.div(stress), v) * ufl.dx + ufl.inner(stress * n, v) * ufl.ds
        if mixed:
            load -= source * q * ufl.dx
        return super().weak_form(space, parameters)._replace(L=load)


class ExactElasticity(Exact, Elasticity):
    """With displacement alone."""


class ExactIncompressibleElasticity(Exact, IncompressibleElasticity):
    """With displacement and pressure."""


def errors_of(family: Any) -> tuple[float, ...]:
    """Return the L2 errors of displacement and, where there is one, pressure."""
    found = solve_instance(family, family.draw(generator(0, 0)))
    domain = found.function_space.mesh
    if not isinstance(family, IncompressibleElasticity):
        return (l2_error(found, family.displacement, domain),)
    u, p = ufl.split(found)
    return l2_error(u, family.displacement, domain), l2_error(p, family.pressure, domain)


@pytest.mark.parametrize(
    ("dimension", "degree", "cells"),
    [
        (2, 1, (8, 16, 32)),
        (2, 2, (4, 8, 16)),
        pytest.param(3, 1, (8, 12, 16), marks=pytest.mark.slow),
        pytest.param(3, 2, (2, 4, 8), marks=pytest.mark.slow),
    ],
)
def test_displacement_converges_at_the_theoretical_order(
    dimension: int, degree: int, cells: tuple[int, ...]
) -> None:
    errors = []
    for n in cells:
        mesh = MeshConfig(points=n * degree + 1, degree=degree, dimension=dimension)
        errors.append(errors_of(ExactElasticity(ElasticitySettings(), mesh))[0])
    assert observed_orders(errors[-2:], cells[-1] / cells[-2])[0] > degree + 1 - 0.1


@pytest.mark.parametrize(
    ("dimension", "cells"),
    [(2, (4, 8, 16)), pytest.param(3, (2, 4, 6), marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("ratio", [0.3, 0.4999, 0.5])
def test_displacement_and_pressure_converge_at_the_theoretical_orders(
    dimension: int, cells: tuple[int, ...], ratio: float
) -> None:
    errors = []
    for n in cells:
        mesh = MeshConfig(points=2 * n + 1, degree=2, dimension=dimension)
        settings = IncompressibleElasticitySettings(poisson_ratio=ratio)
        errors.append(errors_of(ExactIncompressibleElasticity(settings, mesh)))
    fineness = cells[-1] / cells[-2]
    displacement, pressure = (
        observed_orders(e[-2:], fineness)[0] for e in zip(*errors, strict=True)
    )
    assert displacement > 3 - 0.1
    assert pressure > 2 - 0.1


class StiffElasticity(ExactElasticity):
    """A family whose exact solution depends on Poisson's ratio only by a factor."""

    displacement = staticmethod(solenoidal_displacement)


class StiffIncompressibleElasticity(ExactIncompressibleElasticity):
    """The same by displacement and pressure, which is zero."""

    displacement = staticmethod(solenoidal_displacement)
    pressure = staticmethod(lambda x: 0 * x[0])


def test_displacement_locks_only_without_a_pressure() -> None:
    # The exact displacement has no divergence. Hardly any P1 function has none
    # (Boffi, Brezzi, Fortin 2013, chapter 8), so a large lambda forces u to zero.
    alone, mixed = [], []
    for ratio in (0.3, 0.499999):
        # The settings would refuse this ratio, because of locking.
        settings = ElasticitySettings().model_copy(update={"poisson_ratio": ratio})
        alone.append(errors_of(StiffElasticity(settings, MeshConfig(points=9)))[0])
        settings = IncompressibleElasticitySettings(poisson_ratio=ratio)
        mesh = MeshConfig(points=9, degree=2)
        mixed.append(errors_of(StiffIncompressibleElasticity(settings, mesh))[0])
    norm = norm_of_exact(StiffElasticity(ElasticitySettings(), MeshConfig(points=9)))
    assert alone[1] > 10 * alone[0] and alone[1] > norm / 4
    assert mixed[1] < 1.2 * mixed[0] and mixed[1] < 1e-3 * norm


def norm_of_exact(family: Any) -> float:
    """Return the norm of the exact displacement."""
    domain = family.make_mesh(MPI.COMM_SELF)
    zero = fem.Function(fem.functionspace(domain, ("Lagrange", 1, (family.dimension,))))
    return l2_error(zero, family.displacement, domain)


class Patch:
    """A displacement in the space of the elements, for a constant modulus."""

    displacement = staticmethod(lambda x: x[0] * ufl.as_vector([0.3, -0.2, 0.1][: len(x)]))
    modulus = staticmethod(lambda x: 2.0)


class PatchElasticity(Patch, ExactElasticity):
    """With displacement alone."""


class PatchIncompressibleElasticity(Patch, ExactIncompressibleElasticity):
    """With displacement and pressure."""

    pressure = staticmethod(lambda x: 1 + x[0] - x[1])


@pytest.mark.parametrize(("dimension", "degree"), [(2, 1), (2, 2), (3, 1)])
def test_patch_is_exact(dimension: int, degree: int) -> None:
    mesh = MeshConfig(points=5, degree=degree, dimension=dimension)
    assert max(errors_of(PatchElasticity(ElasticitySettings(), mesh))) < 1e-13
    if degree == 2:
        settings = IncompressibleElasticitySettings()
        assert max(errors_of(PatchIncompressibleElasticity(settings, mesh))) < 1e-12


@pytest.mark.parametrize("dimension", [2, 3])
def test_bar_that_does_not_contract_stretches_by_traction_over_modulus(dimension: int) -> None:
    family = make(points=5, dimension=dimension, poisson_ratio=0)
    traction = np.zeros(dimension)
    traction[0] = 0.3
    instance = {"E": np.full((5,) * dimension, 2.0), "traction": traction}
    u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    x = np.linspace(0, 1, 5).reshape(-1, *(1,) * (dimension - 1))
    np.testing.assert_allclose(u[..., 0], np.broadcast_to(0.15 * x, (5,) * dimension), atol=1e-14)
    np.testing.assert_allclose(u[..., 1:], 0, atol=1e-14)


# Identities of the discrete solutions, for the families' own loads.


def over_the_end(values: np.ndarray) -> np.ndarray:
    """Return the integral of a field of linear elements over the side x = 1, in the plane."""
    return np.trapezoid(values[-1], np.linspace(0, 1, values.shape[1]), axis=0)


def test_reciprocity_of_betti() -> None:
    family = make(points=17)
    discretisation = family.discretise(MPI.COMM_SELF)
    modulus = family.draw(generator(0, 0))["E"]
    tractions = np.array([[0.3, -0.1], [0.2, 0.7]])
    first, second = (
        over_the_end(discretisation.solve([{"E": modulus, "traction": t}], solve_directly)[0]["u"])
        for t in tractions
    )
    assert tractions[0] @ second == pytest.approx(tractions[1] @ first, rel=1e-11)
    assert tractions[0] @ first > 0 and tractions[1] @ second > 0


@pytest.mark.parametrize(("weight", "points"), [(0.0, 9), (0.4, 9)])
def test_loads_work_twice_the_strain_energy(weight: float, points: int) -> None:
    family = make(points=points, weight=weight, traction=0.1)
    instance = family.draw(generator(0, 3))
    u = solve_instance(family, instance)
    domain = u.function_space.mesh
    modulus = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    at = np.rint(modulus.function_space.tabulate_dof_coordinates() * (points - 1)).astype(int)
    modulus.x.array[:] = instance["E"][at[:, 0], at[:, 1]]
    first, second = lame(modulus, family.settings.poisson_ratio)
    stress = 2 * second * strain(u) + first * ufl.tr(strain(u)) * ufl.Identity(2)
    twice_energy = fem.assemble_scalar(fem.form(ufl.inner(stress, strain(u)) * ufl.dx))
    nodal = np.empty((points, points, 2))
    nodal[at[:, 0], at[:, 1]] = u.x.array.reshape(-1, 2)
    work = instance["traction"] @ over_the_end(nodal)
    work -= weight * fem.assemble_scalar(fem.form(u[1] * ufl.dx))
    assert work == pytest.approx(twice_energy, rel=1e-11)


def test_weight_pulls_down() -> None:
    family = make(points=9, weight=0.1, traction=0)
    instance = family.draw(generator(0, 0))
    assert not instance["traction"].any()
    u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    assert (u[1:, :, 1] < 0).all() and (u[0] == 0).all()


def test_stored_volume_change_is_that_of_the_pressure() -> None:
    # With q = 1: the flux through the boundary is -int p / lambda.
    changes = []
    for ratio in (0.499, 0.5):
        family = make("incompressible_elasticity", points=9, degree=2, poisson_ratio=ratio)
        instance = family.draw(generator(0, 0)) | {"E": np.ones((9, 9))}
        u, p = ufl.split(solve_instance(family, instance))
        dx = ufl.dx(family_domain(u))
        change, pressure = (fem.assemble_scalar(fem.form(f * dx)) for f in (ufl.div(u), p))
        compliance = (1 + ratio) * (1 - 2 * ratio) / ratio
        assert change == pytest.approx(-compliance * pressure, abs=1e-13)
        changes.append(change)
    assert abs(changes[1]) < 1e-13 < abs(changes[0])


def family_domain(expression: Any) -> Any:
    """Return the mesh of an expression."""
    return ufl.domain.extract_unique_domain(expression)


# An independent discretisation: bilinear elements on squares, in NumPy.


def bilinear_elements(instance: Instance, ratio: float) -> np.ndarray:
    """Solve plane strain with bilinear elements and 2 x 2 Gauss points; return u on the grid."""
    modulus, traction = instance["E"], instance["traction"]
    points = len(modulus)
    h = 1 / (points - 1)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    i, j = (a.ravel() for a in np.meshgrid(*2 * [np.arange(points - 1)], indexing="ij"))
    nodes = (i[:, None] + corners[:, 0]) * points + j[:, None] + corners[:, 1]
    dofs = (2 * nodes[:, :, None] + np.arange(2)).reshape(len(nodes), 8)
    first, second = lame(1.0, ratio)
    material = np.array(
        [[first + 2 * second, first, 0], [first, first + 2 * second, 0], [0, 0, second]]
    )
    stiffness = np.zeros((len(nodes), 8, 8))
    for s in (0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3)):
        for t in (0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3)):
            shape = np.array([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t])
            dx = np.array([t - 1, 1 - t, t, -t]) / h
            dy = np.array([s - 1, -s, s, 1 - s]) / h
            b = np.zeros((3, 8))
            b[0, ::2] = b[2, 1::2] = dx
            b[1, 1::2] = b[2, ::2] = dy
            at = modulus.ravel()[nodes] @ shape
            stiffness += h**2 / 4 * at[:, None, None] * (b.T @ material @ b)
    rows, columns = np.repeat(dofs, 8, axis=1).ravel(), np.tile(dofs, (1, 8)).ravel()
    matrix = sp.csr_array((stiffness.ravel(), (rows, columns)), shape=2 * (2 * points**2,))
    load = np.zeros((points, points, 2))
    load[-1] = h * traction
    load[-1, [0, -1]] /= 2
    free = np.arange(2 * points, 2 * points**2)  # those where x = 0 are first
    u = np.zeros(2 * points**2)
    u[free] = scipy.sparse.linalg.spsolve(matrix[free][:, free].tocsc(), load.ravel()[free])
    return u.reshape(points, points, 2)


@pytest.mark.parametrize(
    ("name", "degree"),
    [("elasticity", 1), ("elasticity", 2), ("incompressible_elasticity", 2)],
)
def test_all_elements_approach_bilinear_ones_of_a_drawn_instance(name: str, degree: int) -> None:
    differences = []
    for points in (17, 33, 65):
        family = make(name, points, degree, poisson_ratio=0.35)
        instance = family.draw(generator(0, 0))
        u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        other = bilinear_elements(instance, 0.35)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    # The corners of the clamped side are singular, so the order is less than two.
    assert differences[0] < 0.05
    assert differences[1] < 0.5 * differences[0] and differences[2] < 0.5 * differences[1]


# The operator, and the near null space for multigrid.


KINDS = [
    ("elasticity", 5, 1, 2),
    ("elasticity", 5, 2, 2),
    ("elasticity", 5, 1, 3),
    ("incompressible_elasticity", 5, 2, 2),
]


@pytest.mark.parametrize(("name", "points", "degree", "dimension"), KINDS)
def test_operator_is_as_declared(name: str, points: int, degree: int, dimension: int) -> None:
    family = make(name, points, degree, dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    keep = SolveAndKeep()
    for index in range(3):
        discretisation.solve([family.draw(generator(0, index))], keep)
    assert false_claims(family.operator, keep.matrices) == []
    everything = OperatorTraits(symmetric=True, definite=True, constant=True, saddle_point=True)
    assert "constant" in false_claims(everything, keep.matrices)
    other = "definite" if family.operator.saddle_point else "saddle_point"
    assert other in false_claims(everything, keep.matrices)


def test_operator_of_displacement_and_pressure_has_a_negative_eigenvalue_for_each_pressure() -> (
    None
):
    family = make("incompressible_elasticity", points=5, degree=2)
    keep = SolveAndKeep()
    solution = family.discretise(MPI.COMM_SELF).solve([family.draw(generator(0, 0))], keep)[0]
    eigenvalues = np.linalg.eigvalsh(keep.matrices[0].toarray())
    assert (eigenvalues < 0).sum() == solution["p_dofs"].size


def test_inf_sup_constant_does_not_fall_with_the_mesh() -> None:
    # Largest beta with B K^-1 B^T >= beta^2 Q, K the block of u for E = 1 and Q the mass of p
    # (Boffi, Brezzi, Fortin 2013, chapter 5): the stability of the pair of elements.
    constants = []
    for points in (5, 9, 17):
        family = make("incompressible_elasticity", points, 2, poisson_ratio=0.5)
        discretisation: Any = family.discretise(MPI.COMM_SELF)
        matrix, _ = discretisation.assemble(
            {"E": np.ones((points, points)), "traction": np.zeros(2)}
        )
        rows, columns, entries = matrix.getValuesCSR()
        whole = sp.csr_array((entries, columns, rows), shape=matrix.size).toarray()
        space = discretisation.elements.space
        (_, displacement), (own, pressure) = (space.sub(i).collapse() for i in range(2))
        displacement, pressure = np.ravel(displacement), np.ravel(pressure)
        energy = whole[np.ix_(displacement, displacement)]
        divergence = whole[np.ix_(pressure, displacement)]
        p, q = ufl.TrialFunction(own), ufl.TestFunction(own)
        mass = fem.assemble_matrix(fem.form(p * q * ufl.dx)).to_dense()
        schur = divergence @ np.linalg.solve(energy, divergence.T)
        inverse = np.linalg.inv(np.linalg.cholesky(mass))
        constants.append(np.sqrt(np.linalg.eigvalsh(inverse @ schur @ inverse.T)[0]))
    assert constants[2] > 0.9 * constants[1] and constants[2] > 0.1


@pytest.mark.parametrize(("dimension", "motions"), [(2, 3), (3, 6)])
def test_rigid_body_motions_have_no_energy(dimension: int, motions: int) -> None:
    family = make(points=5, dimension=dimension)
    elements = family.discretise(MPI.COMM_SELF).elements
    elements.set_parameters(family.draw(generator(0, 0)))
    weak = family.weak_form(elements.space, elements.parameters)
    matrix = dolfinx.fem.petsc.assemble_matrix(fem.form(weak.a))
    matrix.assemble()
    basis = np.array([v.array for v in rigid_body_motions(elements.space).getVecs()])
    np.testing.assert_allclose(basis @ basis.T, np.eye(motions), atol=1e-13)
    for motion in basis:
        image = matrix.createVecLeft()
        matrix.mult(PETSc.Vec().createWithArray(motion.copy()), image)
        assert image.norm() < 1e-12 * matrix.norm()
    # There are no other motions without energy.
    rows, columns, entries = matrix.getValuesCSR()
    dense = sp.csr_array((entries, columns, rows), shape=matrix.size).toarray()
    eigenvalues = np.linalg.eigvalsh(dense)
    assert (eigenvalues < 1e-10 * eigenvalues[-1]).sum() == motions


def multigrid_iterations(matrix: PETSc.Mat, rhs: PETSc.Vec) -> int:
    """Return how many iterations conjugate gradients need with algebraic multigrid."""
    ksp = PETSc.KSP().create(matrix.comm)
    ksp.setOperators(matrix)
    ksp.setType("cg")
    ksp.pc.setType("gamg")
    ksp.setTolerances(rtol=1e-8)
    ksp.solve(rhs, rhs.duplicate())
    assert ksp.is_converged
    iterations: int = ksp.its
    ksp.destroy()
    return iterations


@pytest.mark.parametrize(("points", "dimension"), [(65, 2), (11, 3)])
def test_rigid_body_motions_speed_up_multigrid(points: int, dimension: int) -> None:
    family = make(points=points, dimension=dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    matrix, rhs = discretisation.assemble(family.draw(generator(0, 0)))
    knowing = multigrid_iterations(matrix, rhs)
    # A manual copy, since a copy by PETSc keeps the near null space.
    ignorant = PETSc.Mat().createAIJ(matrix.size, bsize=dimension, csr=matrix.getValuesCSR())
    ignorant.assemble()
    assert knowing < multigrid_iterations(ignorant, rhs)


# What is drawn, stored and refused.


@pytest.mark.parametrize(("dimension", "degree"), [(2, 1), (2, 2), (3, 1)])
def test_instances_on_a_finer_grid_are_the_same(dimension: int, degree: int) -> None:
    coarse, fine = (
        make(points=n, degree=degree, dimension=dimension).draw(generator(0, 1)) for n in (9, 17)
    )
    every_other = (slice(None, None, 2),) * dimension
    np.testing.assert_allclose(fine["E"][every_other], coarse["E"], rtol=1e-12)
    np.testing.assert_array_equal(fine["traction"], coarse["traction"])
    assert coarse["E"].min() > 0 and coarse["traction"].shape == (dimension,)


def test_instances_have_the_statistics_of_the_settings() -> None:
    family = make(points=9, log_deviation=0.7, traction=0.2)
    drawn = [family.draw(generator(0, index)) for index in range(400)]
    # The deviation is an average over the square, so integrate by the trapezoidal rule.
    weights = np.ones(9) / 8
    weights[[0, -1]] /= 2
    squares = [weights @ np.log(instance["E"]) ** 2 @ weights for instance in drawn]
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.7, rel=0.1)
    assert np.std([instance["traction"] for instance in drawn]) == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(("name", "points", "degree", "dimension"), KINDS)
def test_residual_is_that_of_what_is_stored(
    name: str, points: int, degree: int, dimension: int
) -> None:
    family: Family = make(name, points, degree, dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 0))
    stored = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, stored) < 1e-9
    for key in [variable.name for variable in family.unknowns] or ["u"]:
        changed = {name: values.copy() for name, values in stored.items()}
        changed[key].reshape(-1)[-3] += 1e-2 * abs(stored[key]).max()
        assert discretisation.residual(instance, changed) > 1e-4


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("elasticity", {"points": 7, "dimension": 3}),
        ("incompressible_elasticity", {"points": 9, "degree": 2}),
    ],
)
def test_two_processes_store_what_one_does(name: str, mesh: dict[str, int], tmp_path: Path) -> None:
    dataset = {
        "family": name,
        "mesh": mesh,
        "parameters": {"modes": 4},
        "solver": {"method": "direct"},
    }
    one, two = (solve_on_ranks(ranks, dataset, tmp_path) for ranks in (1, 2))
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_allclose(two[key], one[key], atol=1e-8 * abs(one[key]).max(), rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": 9}, "parameters.modes 9 does not fit mesh.points 9"),
        ({"poisson_ratio": 0.4999}, "poisson_ratio"),
        ({"poisson_ratio": -0.1}, "poisson_ratio"),
        ({"log_deviation": 0}, "log_deviation"),
        ({"smoothness": 1.5}, "smoothness"),
        ({"traction": 0, "weight": 0}, "nothing would move"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_elements_and_solvers_that_do_not_fit_the_pressure_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"mesh.degree 1: .* needs degree 2"):
        make("incompressible_elasticity", points=9, degree=1)
    with pytest.raises(ConfigError, match=r"poisson_ratio"):
        make("incompressible_elasticity", points=9, degree=2, poisson_ratio=0.51)
    dataset = DatasetConfig(
        family="incompressible_elasticity",
        mesh={"points": 17, "degree": 2},
        solver={"method": "gcrodr"},
    )
    with pytest.raises(ConfigError, match=r"solver.method gcrodr"):
        load_family(dataset)


def test_modulus_that_is_not_positive_is_refused() -> None:
    family = make(points=5)
    modulus = np.ones((5, 5))
    modulus[2, 3] = -0.5
    with pytest.raises(DataError, match=r"E \(Young's modulus\) has the value -0.5"):
        family.discretise(MPI.COMM_SELF).solve(
            [{"E": modulus, "traction": np.ones(2)}], solve_directly
        )


@pytest.mark.parametrize("name", ["elasticity", "incompressible_elasticity"])
def test_operator_is_as_declared_however_rough_the_modulus(name: str) -> None:
    # The quadratic interpolant of such a modulus is negative in places.
    family = make(name, points=5, degree=2)
    keep = SolveAndKeep()
    modulus = np.exp(3 * np.random.default_rng(0).standard_normal((5, 5)))
    instance = {"E": modulus, "traction": np.ones(2)}
    solution = family.discretise(MPI.COMM_SELF).solve([instance], keep)[0]
    assert false_claims(family.operator, keep.matrices) == []
    negative = np.linalg.eigvalsh(keep.matrices[0].toarray()) < 0
    assert negative.sum() == (solution["p_dofs"].size if "p_dofs" in solution else 0)


def test_a_modulus_with_a_nonpositive_interpolant_is_refused() -> None:
    family = make(points=5, degree=2, dimension=3)
    modulus = np.exp(3 * np.random.default_rng(0).standard_normal((5, 5, 5)))
    with pytest.raises(DataError, match="quadratic interpolant is not positive"):
        family.check_instance({"E": modulus})
