# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The public functions of `kryloset`, as a notebook uses them."""

import os
import pydoc
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import numpy as np
import pytest
import rich.console
import scipy.sparse as sp

import kryloset
from kryloset.dataset.integrity import digest_instance
from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.krylov import Automatic, SequenceSolver, Structure
from kryloset.library import loading
from kryloset.run import one_process, solve, sort
from merging import merge_verified

ROOT = Path(__file__).parents[1]
#: A small grid, on which the fields of all families are resolved.
SMALL = {"points": 9}
DARCY = {"points": 9, "modes": 6}
#: A box with Chebyshev points along x, and a permeability in its cells.
BOX = {
    "points": (9, 5), "sides": (2, 1), "spacing": ("chebyshev", "equidistant"), "modes": 3,
    "placement": "cells",
}  # fmt: skip

OWN = """
from typing import ClassVar

import numpy as np
import ufl

from kryloset.problems import SteadyFamily, Variable, WeakForm


class Own(SteadyFamily):
    summary = "A source of random strength"
    equation = "-lap u = s in (0, 1)^2, u = 0 on the boundary"
    parameters = (Variable("s", "strength", "W", ()),)
    fields = (Variable("u", "temperature", "K"),)

    def draw(self, generator):
        return {"s": generator.uniform(1.0, 2.0)}

    def weak_form(self, space, parameters):
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return WeakForm(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, parameters["s"] * v * ufl.dx)
"""


def run_python(code: str, **environment: str) -> str:
    """Run a program in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, cwd="/", check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# The names


def test_public_names_are_imported_when_they_are_used():
    loaded = run_python(
        "import sys, kryloset\n"
        "assert {'family', 'open'} <= set(dir(kryloset))\n"
        "print(*(name for name in sys.modules if name.startswith('kryloset')))"
    )
    small = {"kryloset", "kryloset.errors", "kryloset.extras", "kryloset.version"}
    assert set(loaded.split()) == small
    with pytest.raises(AttributeError, match="no attribute 'famly'"):
        _ = kryloset.famly


@pytest.mark.slow
def test_a_checkout_that_is_not_installed_is_enough():
    """No distribution named kryloset is installed."""
    printed = run_python(
        "import importlib.metadata as m\n"
        "def none(name): raise m.PackageNotFoundError(name)\n"
        "found = m.version\n"
        "m.version = lambda name: none(name) if name == 'kryloset' else found(name)\n"
        "import kryloset\n"
        "from kryloset.provenance import versions\n"
        "print(kryloset.__version__, versions()['kryloset'], kryloset.family('darcy').name)",
        PYTHONPATH=str(ROOT / "src"),
    )
    assert printed.split() == [kryloset.__version__, kryloset.__version__, "darcy"]


#: A program in which modules cannot be imported, named in its first argument.
WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
FENICSX = ("basix", "dolfinx", "ffcx", "gmsh", "ufl")
EXTRAS = ("jinja2", "matplotlib", "snakemake", "torch", "typer")


def test_matrices_need_neither_fenicsx_nor_the_workflow():
    printed = run_python(
        WITHOUT.format(blocked=FENICSX + EXTRAS) + "import kryloset, numpy, scipy.sparse\n"
        "system = scipy.sparse.csr_array(2 * numpy.eye(3)), numpy.ones(3)\n"
        "print(next(kryloset.solve_sequence([system])).solution)\n"
        "try: kryloset.solve(family := kryloset.family('darcy'), family.draw(1))\n"
        "except kryloset.extras.MissingLibraryError as error: print(error)\n"
    )
    assert printed.startswith("[0.5 0.5 0.5]\nthis needs `dolfinx`, which is not installed")
    assert "conda install -c conda-forge fenics-dolfinx" in printed


def test_krylov_solvers_need_petsc_and_numpy_alone():
    """SciPy is needed by methods that recycle, and cffi by compiled kernels."""
    libraries = ("cffi", "h5netcdf", "h5py", "pydantic", "rich", "scipy", "xarray", "yaml")
    printed = run_python(
        WITHOUT.format(blocked=libraries + FENICSX + EXTRAS) + "from mpi4py import MPI\n"
        "from petsc4py import PETSc\n"
        "from kryloset.krylov import Automatic, SequenceSolver, solve_or_escalate\n"
        "A = PETSc.Mat().createAIJ((3, 3), nnz=1, comm=PETSc.COMM_SELF)\n"
        "A.setDiagonal(PETSc.Vec().createWithArray([1.0, 2.0, 4.0], comm=PETSc.COMM_SELF))\n"
        "A.assemble()\n"
        "b = A.createVecLeft()\n"
        "b.set(4.0)\n"
        "solver = SequenceSolver(method='gmres')\n"
        "result, state, _ = solve_or_escalate(solver, A, b, solver.init())\n"
        "print(*result.solution.array.round(6))\n"
    )
    assert printed.split() == ["4.0", "2.0", "1.0"]


@pytest.mark.slow
def test_a_notebook_needs_nothing_of_the_workflow(dataset):
    printed = run_python(
        WITHOUT.format(blocked=EXTRAS) + "import kryloset\n"
        "family = kryloset.family('darcy', points=9, modes=6)\n"
        "print(kryloset.solve(family, family.draw(2))['t0_fields/u'].shape)\n"
        f"print(kryloset.open({str(dataset)!r})['t0_fields/u'].shape)\n"
    )
    assert printed.split("\n")[:2] == ["(2, 1, 9, 9)", "(4, 1, 9, 9)"]


@pytest.mark.parametrize(("library", "extra"), [("typer", "workflow"), ("matplotlib", "report")])
def test_a_command_names_the_missing_extra(library, extra, tmp_path):
    program = WITHOUT.format(blocked=[library]) + (
        "from kryloset.__main__ import main\n"
        "sys.argv = ['kryloset', 'report', 'dataset.h5']\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"kryloset: error: this needs `{library}`" in done.stderr
    assert f"kryloset[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


# Families


def test_a_family_shows_its_settings():
    family = kryloset.family("heat", points=17, modes=6)
    assert repr(family).startswith("kryloset.family('heat', points=17, modes=6)\n")
    text = pydoc.plain(pydoc.render_doc(family))
    for part in (
        "initial temperature over x, y [K]",
        "modes = 6 (default ",
        "points = 17 (default 64)",
    ):
        assert part in text


def test_a_wrong_setting_is_refused_by_name_with_what_is_allowed():
    with pytest.raises(ConfigError, match=r"'log_devation', is 'log_deviation' meant\?.*degree"):
        kryloset.family("darcy", log_devation=1.5)
    with pytest.raises(ConfigError, match=r"log_deviation: .*less than or equal to 5"):
        kryloset.family("darcy", log_deviation=6)
    with pytest.raises(ConfigError, match=r"points: .*greater than or equal to 3"):
        kryloset.family("darcy", points=2)
    with pytest.raises(ConfigError, match=r"modes 32 does not fit mesh\.points 9"):
        kryloset.family("darcy", points=9)
    with pytest.raises(ConfigError, match="'darci' is unknown: take one of darcy"):
        kryloset.family("darci")
    with pytest.raises(ConfigError, match="int is neither a name nor a class"):
        kryloset.family(int)
    with pytest.raises(ConfigError, match=r"count: .*greater than or equal to 1"):
        kryloset.family("darcy").draw(0)


def test_a_family_comes_from_a_file_or_a_class(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    named = kryloset.family(f"{path}:Own", points=5)
    given = kryloset.family(type(named.problem), points=5)
    drawn = [family.draw(3, seed=4) for family in (named, given)]
    assert drawn[0].identical(drawn[1])
    assert drawn[0]["s"].dims == ("sample",)
    assert drawn[0]["s"].attrs["units"] == "W"


# Instances


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "darcy", **DARCY, "source_deviation": 0.5},
        {"name": "elasticity", **DARCY},
        {"name": "poisson", **SMALL},
        {"name": "thermal", **SMALL, "outline": "drawn"},
    ],
    ids=lambda settings: settings["name"],
)
def test_the_workflow_draws_the_same_numbers(settings, tmp_path):
    family = kryloset.family(**settings)
    drawn = family.draw(count=4, seed=11)
    sort.run(family.configuration(count=4, seed=11), "set", output=tmp_path / "order.h5")
    with h5py.File(tmp_path / "order.h5") as file:
        for number, digest in enumerate(file["drawn"]):
            instance = {name: values[number].to_numpy() for name, values in drawn.items()}
            assert digest.tobytes() == digest_instance(instance.values())


def test_instances_are_labelled():
    drawn = kryloset.family("heat", **DARCY).draw(3)
    assert drawn["k"].dims == ("sample", "x", "y")
    assert drawn["k"].attrs["units"] == "W/(m K)"
    np.testing.assert_array_equal(drawn["x"], np.linspace(0, 1, 9))
    assert set(drawn.coords) == {"sample", "x", "y"}
    assert drawn.attrs["seed"] == 0
    boxes = kryloset.family("darcy", **BOX).draw(3)
    assert boxes["k"].dims == ("sample", "x_cell", "y_cell") and boxes["k"].shape == (3, 8, 4)
    np.testing.assert_allclose(boxes["y_cell"], [0.125, 0.375, 0.625, 0.875])


# Sequences


def laplacian(n: int, shift: float) -> sp.csr_array:
    """A sparse matrix, symmetric positive definite."""
    matrix = sp.diags_array([-1.0, 2.0 + shift, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    return sp.csr_array(matrix)


def check(matrix, rhs, result) -> None:
    """Check that the result solves the system to the reported residual."""
    x = result.solution.getArray() if isinstance(result.solution, PETSc.Vec) else result.solution
    b = rhs.getArray() if isinstance(rhs, PETSc.Vec) else rhs
    residual = np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)
    assert residual <= 1e-8
    np.testing.assert_allclose(result.true_residual, residual, rtol=0.1, atol=1e-14)


@pytest.mark.parametrize("solver", ["auto", "gcrodr", "direct"])
def test_a_sequence_of_scipy_is_solved(solver):
    systems = [(laplacian(30, 0.1 * i), np.linspace(1.0, 2.0, 30) + i) for i in range(5)]
    results = list(kryloset.solve_sequence(systems, solver=solver))
    assert [result.number for result in results] == [0, 1, 2, 3, 4]
    for (matrix, rhs), result in zip(systems, results, strict=True):
        check(matrix, rhs, result)
        assert isinstance(result.solution, np.ndarray)
        assert "+" in result.strategy


def test_matrices_may_change_their_pattern_and_size():
    matrices = [laplacian(30, 1.0), laplacian(30, 1.0) @ laplacian(30, 1.0), laplacian(12, 2.0)]
    matrices.append(sp.coo_array(laplacian(12, 3.0)))
    systems = [(matrix, np.ones(matrix.shape[0])) for matrix in matrices]
    for (matrix, rhs), result in zip(systems, kryloset.solve_sequence(systems), strict=True):
        check(matrix, rhs, result)


def test_a_sequence_of_petsc_is_taken_one_by_one():
    """A generator may refill one Mat; solutions come as Vecs of their own."""
    csr = laplacian(20, 1.0)
    parts = csr.indptr.astype("i4"), csr.indices.astype("i4"), csr.data
    mat = PETSc.Mat().createAIJ(csr.shape, csr=parts, comm=PETSc.COMM_SELF)
    rhs = mat.createVecLeft()
    rhs.set(1.0)
    taken = []

    def systems():
        for factor in (1.0, 2.0, 4.0):
            mat.setValuesCSR(parts[0], parts[1], factor * parts[2])
            mat.assemble()
            taken.append(factor)
            yield mat, rhs

    results = kryloset.solve_sequence(systems(), "gcrodr", restart=10, recycle=4)
    assert taken == []
    found = []
    for factor, result in zip((1.0, 2.0, 4.0), results, strict=True):
        assert taken[-1] == factor
        check(factor * csr, rhs, result)
        found.append(result.solution)
    np.testing.assert_allclose(found[0].getArray(), 4 * found[2].getArray(), rtol=1e-7)


def test_a_solver_object_may_be_passed():
    systems = [(laplacian(20, 1.0), np.ones(20))]
    for solver in (
        SequenceSolver(method="cg", preconditioner="icc"),
        Automatic(structure=Structure(symmetric=True, definite=True)),
    ):
        (result,) = kryloset.solve_sequence(systems, solver)
        check(*systems[0], result)
    with pytest.raises(ConfigError, match="restart: a solver that is made already"):
        kryloset.solve_sequence(systems, SequenceSolver(), restart=4)


def test_errors_in_a_sequence_name_the_system():
    good = (laplacian(5, 1.0), np.ones(5))
    singular = (sp.csr_array(np.diag([1.0, 1.0, 0.0, 1.0, 1.0])), np.ones(5))
    for bad, kind, message in (
        (singular, KrylosetError, "system 1: the system was not solved"),
        ((good[0], np.ones(4)), DataError, r"system 1: .*shape \(4,\)"),
        ((good[0].toarray(), good[1]), DataError, "system 1: the matrix is a ndarray"),
        ((good[0], 1j * good[1]), DataError, "system 1: the right-hand side is complex"),
        (good[0], DataError, "system 1: a csr_array is not a system"),
        ((sp.csr_array(np.ones((5, 4))), good[1]), KrylosetError, "system 1: "),
        # PETSc would end the program.
        ((PETSc.Mat(), good[1]), DataError, "system 1: a Mat of PETSc is empty"),
        ((PETSc.Mat().createAIJ((5, 5), nnz=1), good[1]), DataError, "not assembled"),
    ):
        results = kryloset.solve_sequence([good, bad])
        check(*good, next(results))
        with pytest.raises(kind, match=message):
            next(results)
    with pytest.raises(ConfigError, match="'gcro' is not known: use one of gcrodr"):
        kryloset.solve_sequence([good], "gcro")
    with pytest.raises(ConfigError, match="no option 'tolernce': use one of max_iterations"):
        kryloset.solve_sequence([good], tolernce=1.0)
    with pytest.raises(ConfigError, match=r"no option 'restart': .*, or name a method as solver"):
        kryloset.solve_sequence([good], restart=4)
    with pytest.raises(ConfigError, match="tolerance must lie between 0 and 1, got '1e-8'"):
        kryloset.solve_sequence([good], tolerance="1e-8")
    with pytest.raises(ConfigError, match="solver has the type NoneType"):
        kryloset.solve_sequence([good], None)
    with pytest.raises(DataError, match="systems has the type int"):
        kryloset.solve_sequence(3)


def test_a_matrix_that_lacks_an_operation_is_refused_with_its_number():
    class Doubled:
        def mult(self, mat, x, y):
            y.setArray(2 * x.getArray(readonly=True))

    mat = PETSc.Mat().createPython((5, 5), context=Doubled(), comm=PETSc.COMM_SELF)
    mat.setUp()
    (result,) = kryloset.solve_sequence([(mat, np.ones(5))], "gmres", preconditioner="none")
    np.testing.assert_allclose(result.solution, 0.5)
    with pytest.raises(KrylosetError, match=r"system 0: PETSc cannot do .*norm"):
        next(kryloset.solve_sequence([(mat, np.ones(5))]))


# Solutions

#: Families of all kinds: fields on several grids, meshes and masks that differ from instance to
#: instance, vectors, trajectories, Newton iterations.
KINDS = [
    pytest.param({"name": "darcy", **DARCY, "grids": (5,)}, id="darcy"),
    pytest.param({"name": "darcy", **BOX, "grids": ((5, 3),)}, id="box"),
    pytest.param({"name": "thermal", **SMALL, "outline": "drawn"}, id="thermal"),
    pytest.param({"name": "elasticity", **DARCY}, id="elasticity", marks=pytest.mark.slow),
    pytest.param({"name": "heat", **DARCY, "steps": 3}, id="heat", marks=pytest.mark.slow),
    pytest.param({"name": "reaction_diffusion", **DARCY}, id="newton", marks=pytest.mark.slow),
]


def run_stages(family, folder: Path, **keys) -> Path:
    """Make a dataset of a family by the stages of the workflow."""
    config = family.configuration(**keys)
    order = folder / "order.h5"
    sort.run(config, "made", output=order)
    chunk, path = folder / "1-of-1.h5", folder / "dataset.h5"
    solve.run(config, "made", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    return merge_verified(config, "made", order=order, chunks=[chunk], output=path)


@pytest.mark.parametrize("settings", KINDS)
def test_solutions_are_laid_out_as_the_workflow_does(settings, tmp_path):
    """They are equal bit for bit with a method that uses no clock."""
    family = kryloset.family(**settings)
    solver = {"method": "gcrodr", "restart": 20, "recycle": 5}
    data = kryloset.solve(family, family.draw(4, seed=3), **solver)
    path = run_stages(family, tmp_path, count=4, seed=3, solver=solver)
    with kryloset.open(path) as made:
        whole = {group.split("/")[1] for group in made.groups} - {""}
        assert whole - set(data.children) == {"provenance", "statistics", "splits"}
        for group in data.groups:
            found, wanted = (tree[group].to_dataset(inherit=False) for tree in (data, made))
            if group == "/solver":
                found = found.drop_vars(["seconds", "strategy", "part"])
            if group == "/":
                of_the_run = ("history", "dataset_name", "date_created")
                found.attrs |= {key: wanted.attrs[key] for key in of_the_run}
            assert found.identical(wanted), group


def test_the_result_has_a_solve_record():
    family = kryloset.family("darcy", **DARCY)
    data = kryloset.solve(family, family.draw(6), tolerance=1e-6)
    solver = data["solver"]
    assert (solver["true_residual"] <= 1e-6).all()
    assert (solver["iterations"] >= 1).all()
    assert list(solver["part"]) == ["setup", "rebuild", "iterate", "assemble"]
    assert (solver["seconds"].sum("part") > 0).all()
    words = solver["way"].attrs["flag_meanings"].split()
    for strategy, way in zip(solver["strategy"].values, solver["way"].values, strict=True):
        assert words[way] == strategy.replace(",", "+").replace(" ", "")


def test_instances_may_be_chosen_and_changed():
    family = kryloset.family("darcy", **DARCY)
    drawn = family.draw(6)
    chosen = drawn.isel(sample=[4, 1])
    whole, part = (kryloset.solve(family, d, method="direct") for d in (drawn, chosen))
    np.testing.assert_array_equal(part["sample"], [4, 1])
    assert part["t0_fields/u"].equals(whole["t0_fields/u"].isel(sample=[4, 1]))
    doubled = kryloset.solve(family, chosen.assign(k=2 * chosen["k"]), method="direct")
    np.testing.assert_allclose(2 * doubled["t0_fields/u"], part["t0_fields/u"], rtol=1e-9)
    turned = kryloset.solve(family, chosen.transpose("y", "x", "sample"), method="direct")
    assert turned["t0_fields/u"].equals(part["t0_fields/u"])


def test_a_notebook_shows_a_bar(monkeypatch):
    shown = []
    display = ModuleType("IPython.display")
    display.HTML = str
    display.display = lambda text, display_id: SimpleNamespace(update=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    family = kryloset.family("darcy", **DARCY)
    kryloset.solve(family, family.draw(3))
    for work in ("drawing", "solving"):
        whole = f'<progress value="3" max="3"></progress> {work} instances: 3 of 3'
        assert any(whole in text for text in shown)


def test_invalid_instances_are_refused():
    family = kryloset.family("darcy", **DARCY)
    drawn = family.draw(3)
    for wrong, kind, message in (
        (drawn.rename(k="c"), DataError, "no parameter 'k'"),
        (drawn.isel(sample=0), DataError, "sample, x, y are expected"),
        (drawn.isel(x=slice(5)), DataError, r"shape \(5, 9\).*\(9, 9\)"),
        (drawn.isel(sample=[1, 1]), DataError, "two have the same number"),
        (drawn.isel(sample=[]), DataError, "there is no instance"),
        (-drawn.isel(sample=[2]), DataError, "instance 2: .*must be positive"),
        (drawn.where(drawn.sample != 2), DataError, "instance 2: parameter 'k' is not finite"),
        # Values at other points would be solved as if they were at those of the grid.
        (drawn.isel(x=slice(None, None, -1)), DataError, "coordinate 'x' .* not that of the fam"),
        (drawn.assign_coords(sample=[0.0, 0.5, 1.0]), DataError, "`sample` holds float64"),
        ({"k": drawn["k"].values}, DataError, "the type dict: give the xarray.Dataset"),
    ):
        with pytest.raises(kind, match=message):
            kryloset.solve(family, wrong)
    with pytest.raises(ConfigError, match="family has the type Darcy: make one by"):
        kryloset.solve(family.problem, drawn)
    with pytest.raises(KrylosetError, match=r"instance 0: .*not solved to the tolerance"):
        kryloset.solve(family, drawn.isel(sample=[0]), method="direct", tolerance=1e-30)


def test_a_wrong_solver_is_refused_by_key():
    family = kryloset.family("advection_diffusion", **DARCY)
    drawn = family.draw(1)
    with pytest.raises(ConfigError, match=r"solver\.restarts: no such key: is `solver\.restart`"):
        kryloset.solve(family, drawn, restarts=4)
    with pytest.raises(ConfigError, match=r"solver\.feature: no such key: is `features` meant"):
        kryloset.solve(family, drawn, feature="cosines")
    with pytest.raises(ConfigError, match=r"solver\.count: no such key; "):
        kryloset.solve(family, drawn, count=3)
    with pytest.raises(ConfigError, match=r"solver\.method cg needs a symmetric definite operator"):
        kryloset.solve(family, drawn, method="cg")
    with pytest.raises(ConfigError, match=r"sort: Input should be 'auto', 'greedy'"):
        kryloset.solve(family, drawn, sort="best")


# Datasets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A dataset that the stages of the workflow made, of four instances of Darcy."""
    family = kryloset.family("darcy", **DARCY, grids=(5,))
    folder = tmp_path_factory.mktemp("dataset")
    return run_stages(family, folder, count=4, solver={"method": "direct"})


def test_a_dataset_is_opened_with_labels(dataset):
    with kryloset.open(dataset) as tree:
        assert tree["t0_fields/u"].dims == ("sample", "time", "x", "y")
        assert tree["solver/true_residual"].max() <= 1e-8
    with kryloset.open(str(dataset)) as tree:
        assert tree["grid_5/u"].sizes["x_5"] == 5


def test_a_file_that_is_not_a_dataset_is_refused(tmp_path, dataset):
    with pytest.raises(DataError, match="there is no file"):
        kryloset.open(tmp_path / "none.h5")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(dataset.read_bytes()[:5000])
    with pytest.raises(DataError, match="damaged"):
        kryloset.open(damaged)


def test_a_small_dataset_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "cache_folder", lambda: tmp_path)
    with kryloset.load("poisson") as tree:
        assert tree["t0_fields/u"].sizes["sample"] == 16
        assert tree["solver/true_residual"].max() <= 1e-8
        made = Path(tree.encoding["source"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [made]
    monkeypatch.setattr(one_process, "make", None)
    with kryloset.load("poisson") as tree:
        assert Path(tree.encoding["source"]) == made


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(loading, "cache_folder", lambda: tmp_path / "file")
    with pytest.raises(DataError, match=r"file/datasets cannot be written .*: set XDG_CACHE_HOME"):
        kryloset.load("poisson")


def test_an_unknown_small_dataset_is_refused():
    for name in ("stokes", "../config"):
        told = f"no small dataset '{name}': take one of .*, darcy, .*"
        with pytest.raises(ConfigError, match=told):
            kryloset.load(name)
