# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tags of cells and facets, which a family's mesh brings along: in forms, in conditions, stored."""

from typing import Any, ClassVar, NamedTuple

from mpi4py import MPI

import numpy as np
import pytest
import ufl
from dolfinx import mesh

from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, FamilyError
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.periodic import close_mesh
from kryloset.fem.tags import read_mesh, write_tags
from kryloset.problems import Dirichlet, SteadyFamily, Variable, WeakForm, load_family
from kryloset.problems.registry import make_family

LEFT, RIGHT, BELOW = 3, 4, 7


def tag_square(comm: Any, cells: int = 4) -> tuple[Any, Any, Any]:
    """Return a square whose halves, and three of whose sides, have tags."""
    domain = mesh.create_unit_square(comm, cells, cells)
    halves = mesh.locate_entities(domain, 2, lambda x: x[0] <= 0.5 + 1e-9)
    everywhere = np.arange(domain.topology.index_map(2).size_local, dtype=np.int32)
    numbers = np.where(np.isin(everywhere, halves), 1, 2).astype(np.int32)
    sides = {LEFT: (0, 0.0), RIGHT: (0, 1.0), BELOW: (1, 0.0)}
    facets = {
        tag: mesh.locate_entities_boundary(
            domain, 1, lambda x, axis=axis, end=end: np.isclose(x[axis], end)
        )
        for tag, (axis, end) in sides.items()
    }
    entities = np.concatenate(list(facets.values()))
    tags = np.repeat(list(facets), list(map(len, facets.values()))).astype(np.int32)
    order = np.argsort(entities)
    return (
        domain,
        mesh.meshtags(domain, 2, everywhere, numbers),
        mesh.meshtags(domain, 1, entities[order], tags[order]),
    )


class Composite(SteadyFamily):
    """Heat through two materials: -div(k grad u) = 0, u = 0 on the left, a flux on the right."""

    summary = equation = "two materials"
    parameters = (
        Variable("k", "conductivity", dimensions=("part",)),
        Variable("q", "flux", "1", ()),
    )
    fields = (Variable("u", "u"),)
    left: ClassVar[Any] = LEFT

    def make_mesh(self, comm: Any) -> Any:
        """Return the mesh with its tags."""
        return tag_square(comm)

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw conductivities and flux."""
        return {"k": generator.uniform(1, 2, 2), "q": generator.uniform(1, 2)}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form, with conductivities by cells and flux and condition by facets."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        dx = ufl.dx(subdomain_data=space.mesh.cell_tags)
        ds = ufl.ds(subdomain_data=space.mesh.facet_tags)
        k, work = parameters["k"], ufl.inner(ufl.grad(u), ufl.grad(v))
        a = k[0] * work * dx(1) + k[1] * work * dx(2)
        return WeakForm(a, parameters["q"] * v * ds(RIGHT), (Dirichlet(0.0, self.left),))


def family_of(kind: type) -> Any:
    return make_family(kind, "own", {}, MeshConfig(points=5))


def test_forms_and_conditions_use_the_tags() -> None:
    """The solution is linear in each material: u = q x / k in the first."""
    family = family_of(Composite)
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = [{"k": np.array([2.0, 0.5]), "q": np.array(3.0)}] * 2
    for stored in discretisation.solve(instances, solve_directly):
        x = family.coordinates["x"]
        expected = 3 * np.minimum(x, 0.5) / 2.0 + 3 * np.maximum(x - 0.5, 0) / 0.5
        np.testing.assert_allclose(stored["u"], np.tile(expected[:, None], 5), atol=1e-12)
        assert discretisation.residual(instances[0], stored) < 1e-12


def test_stored_tags_name_cells_and_facets_of_the_stored_mesh() -> None:
    stored = family_of(Composite).discretise(MPI.COMM_SELF).meshes()
    points, cells = stored["u_points"], stored["u_cells"]
    middles = points[cells].mean(axis=1)
    np.testing.assert_array_equal(stored["cells_1"], np.flatnonzero(middles[:, 0] < 0.5))
    np.testing.assert_array_equal(stored["cells_2"], np.flatnonzero(middles[:, 0] > 0.5))
    for tag, axis, end in ((LEFT, 0, 0), (RIGHT, 0, 1), (BELOW, 1, 0)):
        facets = stored[f"facets_{tag}"]
        corners = [np.delete(cells[cell], corner) for cell, corner in facets]
        assert len({tuple(sorted(facet)) for facet in corners}) == 4
        np.testing.assert_allclose(points[corners][..., axis], end, atol=1e-15)


def test_an_inner_facet_is_that_of_its_first_cell_and_an_interval_has_vertices() -> None:
    line = mesh.create_unit_interval(MPI.COMM_SELF, 4)
    vertices = np.array([0, 2], np.int32)
    tags = mesh.meshtags(line, 0, vertices, np.array([1, 1], np.int32))
    x = line.geometry.x[:, 0]
    stored = write_tags(FamilyMesh(line, None, tags))["facets_1"]
    wanted = sorted(float(x[vertex]) for vertex in vertices)
    cells = np.array([[0, 1], [1, 2], [2, 3], [3, 4]]) / 4
    found = [cells[cell, 1 - corner] for cell, corner in stored]
    np.testing.assert_allclose(found, wanted)
    assert [cell for cell, _ in stored] == [0, 1]


def test_a_closed_mesh_keeps_its_tags_but_those_of_joined_sides() -> None:
    stored = write_tags(FamilyMesh(*tag_square(MPI.COMM_SELF)))
    closed = write_tags(close_mesh(FamilyMesh(*tag_square(MPI.COMM_SELF)), {0: "x"}))
    del stored[f"facets_{LEFT}"], stored[f"facets_{RIGHT}"]
    assert closed.keys() == stored.keys()
    for name, values in stored.items():
        np.testing.assert_array_equal(closed[name], values)


def test_names_of_gmsh_are_those_of_the_tags() -> None:
    gmsh = pytest.importorskip("gmsh")
    from dolfinx.io.gmsh import model_to_mesh

    class Named(Composite):
        left: ClassVar[Any] = "inlet"

        def make_mesh(self, comm: Any) -> Any:
            gmsh.initialize(interruptible=False)
            gmsh.option.setNumber("General.Terminal", 0)
            model = gmsh.model
            rectangle = model.occ.addRectangle(0, 0, 0, 1, 1)
            model.occ.synchronize()
            sides = {tag: model.occ.getCenterOfMass(1, tag) for _, tag in model.getEntities(1)}
            for name, end in (("inlet", 0.0), ("outlet", 1.0)):
                chosen = [tag for tag, middle in sides.items() if abs(middle[0] - end) < 1e-6]
                model.addPhysicalGroup(1, chosen, RIGHT if name == "outlet" else 9, name)
            model.addPhysicalGroup(2, [rectangle], 1, "copper")
            model.mesh.setSize(model.getEntities(0), 0.4)
            model.mesh.generate(2)
            found = model_to_mesh(model, comm, 0, gdim=2)
            gmsh.finalize()
            return found

        def weak_form(self, space: Any, parameters: Any) -> WeakForm:
            u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
            assert space.mesh.tag("outlet") == RIGHT
            ds = ufl.ds(subdomain_data=space.mesh.facet_tags)
            a = parameters["k"][0] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
            load = (parameters["q"] + 0 * parameters["k"][1]) * v * ds(space.mesh.tag("outlet"))
            return WeakForm(a, load, (Dirichlet(0.0, self.left),))

    Named.unknowns = (Variable("u_dofs", "u", dimensions=("u_dof",)),)
    family = family_of(Named)
    discretisation = family.discretise(MPI.COMM_SELF)
    stored = discretisation.meshes()
    assert {"cells_copper", "facets_inlet", "facets_outlet"} <= stored.keys()
    assert len(stored["cells_copper"]) == len(stored["u_cells"])
    instance = {"k": np.array([2.0, 1.0]), "q": np.array(3.0)}
    (solution,) = discretisation.solve([instance], solve_directly)
    np.testing.assert_allclose(solution["u_dofs"], 1.5 * stored["u_points"][:, 0], atol=1e-12)


@pytest.mark.parametrize("name", ["in/out", "7"])
def test_names_that_a_file_cannot_tell_apart_are_refused(name: str) -> None:
    class Found(NamedTuple):
        mesh: Any
        cell_tags: Any
        facet_tags: Any
        physical_groups: Any

    with pytest.raises(ValueError, match=f"a group named '{name}'.*rename it"):
        read_mesh(Found(*tag_square(MPI.COMM_SELF), {name: (1, LEFT)}))


@pytest.mark.parametrize(
    ("returned", "left", "message"),
    [
        (lambda parts: parts, "inlet", "no facet has the tag 'inlet': the tags of facets are 3, 4"),
        (lambda parts: parts, 5, "no facet has the tag 5"),
        (lambda parts: parts[0], LEFT, "none: return them from make_mesh"),
        (lambda parts: (parts[0], parts[2]), LEFT, "cell tags of entities of dimension 1"),
        (lambda parts: (parts[0], None, 4), LEFT, "facet tags that are a int"),
        (lambda parts: (parts[0], tag_square(MPI.COMM_SELF)[1]), LEFT, "or of another mesh"),
        (lambda parts: parts[1:], LEFT, "returned a tuple: return a dolfinx.mesh.Mesh"),
    ],
)
def test_tags_that_do_not_fit_are_refused(returned: Any, left: Any, message: str) -> None:
    class Wrong(Composite):
        def make_mesh(self, comm: Any) -> Any:
            return returned(tag_square(comm))

        def weak_form(self, space: Any, parameters: Any) -> WeakForm:
            u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
            k, q = parameters["k"], parameters["q"]
            a = (k[0] + k[1]) * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
            return WeakForm(a, q * v * ufl.dx, (Dirichlet(0.0, left),))

    with pytest.raises(FamilyError, match=message):
        family_of(Wrong).discretise(MPI.COMM_SELF)


class Smooth(Composite):
    """Heat with a conductivity on the grid, on a mesh whose nodes are not the grid."""

    parameters = (Variable("k", "conductivity"), Variable("w", "wind", rank=1))
    unknowns = (Variable("u_dofs", "u", dimensions=("u_dof",)),)

    def make_mesh(self, comm: Any) -> Any:
        """Return another number of cells than the grid has."""
        return tag_square(comm, 6)

    def draw(self, generator: Any) -> dict[str, Any]:
        """Return x + 1, and (y, 2)."""
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"k": x + 1, "w": np.stack([y, 0 * y + 2], axis=-1)}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return a form with both."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v))
        a += ufl.dot(parameters["w"], ufl.grad(u)) * v
        return WeakForm(a * ufl.dx, v * ufl.dx)


def test_parameters_are_stored_at_the_nodes_on_request() -> None:
    """Affine ones exactly, alone and in a group; evaluated again they are the same."""
    mesh_ = MeshConfig(points=5, nodal_parameters=True)
    family = make_family(Smooth, "smooth", {}, mesh_)
    discretisation = family.discretise(MPI.COMM_SELF)
    x, y = discretisation.meshes()["u_points"].T
    instance = family.draw(None)
    for stored in (
        *discretisation.solve([instance], solve_directly),
        *discretisation.solve([instance] * 2, solve_directly),
        discretisation.evaluate(instance, discretisation.solve([instance], solve_directly)[0]),
    ):
        np.testing.assert_allclose(stored["k_nodes"], x + 1)
        np.testing.assert_allclose(stored["w_nodes"], np.stack([y, 0 * y + 2], axis=1), atol=1e-15)
    assert make_family(Smooth, "smooth", {}, MeshConfig(points=5)).unknowns == Smooth.unknowns


@pytest.mark.parametrize(
    ("family", "message"),
    [("darcy", "nodes of the mesh are the points of the grid"), ("heat", "has time steps")],
)
def test_parameters_at_nodes_that_would_repeat_the_grid_are_refused(
    family: str, message: str
) -> None:
    config = DatasetConfig(family=family, mesh={"points": 33, "nodal_parameters": True})
    with pytest.raises(ConfigError, match=message):
        load_family(config).discretise(MPI.COMM_SELF)
