# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The programs of README.md and of the pages on solvers run as they are printed.

The tests of the other subjects run the programs of the other pages.
"""

import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import matplotlib
import numpy as np
import pytest
import scipy.sparse as sp
from typer.main import get_command

from documentation import ROOT, read_blocks, read_calls
from kryloset.cli import app
from kryloset.config import DatasetConfig, load_config
from kryloset.dataset.failures import Failure, dump_failures
from kryloset.krylov.files.sequence import check_sequence
from kryloset.run import solve, sort
from merging import merge_verified

matplotlib.use("Agg")

import matplotlib.pyplot as plt

MATRIX = sp.csr_array(sp.diags_array([-1.0, 4.0, -2.0], offsets=[-1, 0, 1], shape=(30, 30)))

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
#: Names that a page assumes. They do not import PETSc before the page does.
SYSTEMS = """
def make_systems():
    from petsc4py import PETSc
    for i in range(3):
        A = PETSc.Mat().createAIJ((4, 4), nnz=1)
        A.setDiagonal(PETSc.Vec().createWithArray([1.0, 2.0, 3.0, 4.0 + i]))
        A.assemble()
        b = A.createVecLeft()
        b.set(1.0)
        yield A, b
systems = make_systems()
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder with results/darcy/dataset.h5, which is the working directory."""
    config = DatasetConfig(
        count=4, mesh={"points": 9}, parameters={"modes": 8}, sort="given",
        solver={"method": "direct"}, splits={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    folder = tmp_path / "results/darcy"
    folder.mkdir(parents=True)
    order = tmp_path / "order.h5"
    sort.run(config, "darcy", output=order, chunks=1)
    chunk = tmp_path / "1-of-1.h5"
    solve.run(config, "darcy", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    merge_verified(config, "darcy", order=order, chunks=[chunk], output=folder / "dataset.h5")
    monkeypatch.chdir(tmp_path)


def test_the_picture_of_the_readme_has_x_across(results):
    block, _ = read_blocks("README.md")
    names = {}
    plt.figure()
    exec(block, names)
    axes = plt.gcf().axes[0]
    k = names["tree"]["t0_fields/k"].isel(sample=0).transpose("y", "x").values
    assert axes.get_xlabel().startswith("coordinate x")
    (drawn,) = axes.collections
    np.testing.assert_array_equal(np.reshape(drawn.get_array(), k.shape), k)
    plt.close("all")


def test_the_tutorial_prints_sizes_and_the_largest_residual(results, capsys):
    program, *_ = read_blocks("docs/tutorial/operator.md")
    exec(program, {})
    sizes, residual = capsys.readouterr().out.splitlines()
    assert "'sample': 4" in sizes and "'time': 1" in sizes
    assert 0 < float(residual) <= 1e-8


def test_the_readme_draws_and_solves_in_a_notebook():
    _, block = read_blocks("README.md")
    names = {}
    exec(block.replace("count=100", "count=3"), names)
    assert names["data"]["t0_fields/u"].sizes == {"sample": 3, "time": 1, "x": 64, "y": 64}


def test_the_notebook_runs(results, capsys):
    names = {}
    Path("config").symlink_to(ROOT / "config")
    for block in read_blocks("docs/tutorial/notebook.md"):
        exec(block, names)
    head, half = (names[name]["t0_fields/u"].values for name in ("data", "doubled"))
    np.testing.assert_allclose(half, head / 2, atol=1e-6 * head.max())
    assert names["warm"]["t0_fields/u"].sizes["sample"] == 8
    assert names["direct"]["solver/iterations"].sizes["sample"] == 4
    assert names["result"].number == 9
    assert capsys.readouterr().out.startswith("('x', 'y')")


def test_coefficients_of_your_own_are_solved():
    (program,) = read_blocks("docs/how-to/instances.md")
    names = {}
    exec(program.replace("33, 33", "9, 9").replace("33", "9, modes=8").replace("20", "3"), names)
    assert np.array_equal(names["data"]["t0_fields/k"], names["k"])


def test_two_datasets_are_read_as_one(results):
    shutil.copytree("results/darcy", "results/darcy_more")
    (program,) = read_blocks("docs/how-to/growing.md")
    names = {}
    exec(program, names)
    assert names["train"]["k"].sizes["sample"] == 4  # two halves of four


def test_failures_are_listed(results, capsys):
    program, reading = read_blocks("docs/how-to/failures.md")
    names = {}
    exec(reading.replace("17", "3"), names)
    assert names["one"]["sample"] == 3
    names["tree"].close()
    exec(program, {})
    assert not capsys.readouterr().out
    with h5py.File("results/darcy/dataset.h5", "r+") as file:
        text = dump_failures([Failure(3, 0, "draw", "resonance")])
        file.create_dataset("provenance/failures", data=text, dtype=h5py.string_dtype())
    exec(program, {})
    assert capsys.readouterr().out == "3 0 draw resonance\n"


CONFIGURATIONS = [
    pytest.param(block, id=page)
    for page in ["README.md", *(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
    for block in read_blocks(page, "yaml")
    if block.startswith("datasets:")
]


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_printed_configurations_are_valid(block, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # the folder of the family on a page
    file = tmp_path / "config.yaml"
    file.write_text(block)
    assert load_config(file).datasets


def test_commands_that_pages_print_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    calls = read_calls("kryloset", "make")
    assert len(calls) > 100
    for page, (program, *words) in calls:
        if program == "make":
            named = [word for word in words if re.fullmatch("[a-z][a-z-]+", word)]
            assert named and targets.issuperset(named), (page, words)
            continue
        command = get_command(app)
        while words and not words[0].startswith("-") and hasattr(command, "commands"):
            assert words[0] in command.commands, (page, words)
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        named = {word for word in words if word.startswith("--")}
        assert named <= known | {"--help"}, (page, command.name, words)


def test_modules_and_files_that_pages_name_exist():
    spans = {span for page in PAGES for span in re.findall(r"`([\w./]+)`", page.read_text())}
    # Those of kryloset.learn and kryloset.torch need torch; tests/learn runs them.
    modules = {s for s in spans if re.fullmatch(r"kryloset(?!\.learn|\.torch)(\.\w+)+", s)}
    files = {
        s
        for s in spans
        if re.match("(src|tests|docs|config|envs|workflow|profiles)/", s) and "NAME" not in s
    }
    assert len(modules) > 5 and len(files) > 20
    unknown = [name for name in modules if pydoc.locate(name) is None]
    places = (ROOT, ROOT / "src/kryloset")
    missing = [name for name in files if not any((place / name).exists() for place in places)]
    assert not unknown + missing


def test_the_map_of_the_code_shows_what_is_there():
    source = ROOT / "src/kryloset"
    _, text = (ROOT / "README.md").read_text().split("## Map of the code")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    paths = [path for row in rows for path in re.findall(r"`([a-z_/.]+)`", row)]
    assert len(rows) == 10
    assert not [path for path in paths if not any((at / path).exists() for at in (source, ROOT))]
    assert {path.parent.name for path in source.glob("*/__init__.py")} == {
        path.removesuffix("/") for path in paths if re.fullmatch("[a-z]+/", path)
    }


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    """`make docs` checks the links of docs/ when it builds the site."""
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", (ROOT / page).read_text())
    local = [(path, anchor) for path, anchor in links if "://" not in path]
    assert local
    for path, anchor in local:
        assert (ROOT / path).exists(), path
        text = (ROOT / path).read_text() if anchor else ""
        headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}
        assert not anchor or anchor in slugs.union(re.findall(r'<a id="(\w+)">', text)), anchor


def test_files_are_written_by_petsc_in_a_program_of_its_own(tmp_path):
    """In a process where nothing else has loaded MPI."""
    first, _ = read_blocks("docs/how-to/matrices.md")
    (tmp_path / "systems").mkdir()
    program = [sys.executable, "-c", SYSTEMS + first]
    run = subprocess.run(
        program, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert len(check_sequence(tmp_path / "systems")) == 3


def test_files_are_written_by_scipy(tmp_path):
    names = {}
    exec(read_blocks("docs/how-to/matrices.md")[1], names)
    names["write"](tmp_path / "A_0.dat", MATRIX)
    names["write"](tmp_path / "rhs_0.dat", np.ones(30))
    assert check_sequence(tmp_path).size == 30


@pytest.mark.parametrize("page", ["docs/explanation/recycling.md", "docs/explanation/automatic.md"])
def test_a_sequence_is_solved(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csr = (MATRIX.indptr.astype("i4"), MATRIX.indices.astype("i4"), MATRIX.data)
    operator = PETSc.Mat().createAIJ(MATRIX.shape, csr=csr, comm=PETSc.COMM_SELF)

    def fill_with(factor):
        def fill(mat):
            mat.setValuesCSR(csr[0], csr[1], factor * csr[2])
            mat.assemble()

        return fill

    b = operator.createVecLeft()
    b.set(1.0)
    names = {"A": operator, "systems": [(fill_with(1.0 + i), b) for i in range(3)]}
    (block,) = read_blocks(page)
    exec(block, names)
    x = names["result"].solution.array_r
    np.testing.assert_allclose(3.0 * MATRIX @ x, np.ones(30), atol=1e-7)
    assert (tmp_path / "state.npz").exists()


def test_every_page_with_programs_is_run_somewhere():
    pages = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")}
    found = {page for page in (*pages, "README.md") if read_blocks(page)}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert not [page for page in found if f'"{page}"' not in tests]
