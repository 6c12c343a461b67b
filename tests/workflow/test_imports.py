# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which libraries each stage and command loads: no others, since each start pays for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import ROOT

#: What every command loads beside Python's own library, and those that read HDF5 files.
COMMAND = {"kryloset", "typer", "annotated_doc", "shellingham"}
CONFIGURATION = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions"}
CONFIGURATION |= {"typing_inspection", "yaml"}
FILES = {"cython", "cython_runtime", "h5py", "numpy"}
# The parts of SciPy beyond its core load all of NumPy, and with it what reads Fortran.
SCIPY = {"charset_normalizer", "scipy"}
PETSC = {"mpi4py", "petsc4py"}
FENICSX = PETSC | {"basix", "cffi", "dolfinx", "ffcx", "pycparser", "ufl"}
FENICSX |= {"llvmlite", "numba", "scikits"}  # which are looked for, and used where they are
PICTURES = {"PIL", "cycler", "dateutil", "fontTools", "jinja2", "kiwisolver", "markupsafe"}
PICTURES |= {"matplotlib", "mpl_toolkits", "packaging", "pyparsing", "six"}
READING = COMMAND | CONFIGURATION | FILES
#: By rule: the libraries that its command may load.
LIBRARIES = {
    "sort_instances": READING | {"scipy"},
    "solve_chunk": READING | SCIPY | FENICSX,
    "verify_chunk": READING | {"scipy"} | FENICSX,
    "merge_chunks": READING | {"scipy"} | PETSC,
    "compare_solvers": READING | SCIPY | FENICSX,
    "report_dataset": READING | {"scipy"} | PICTURES,
}


def loaded(text: str) -> set[str]:
    """Return the libraries that Python reports on with PYTHONPROFILEIMPORTTIME."""
    lines = (
        line.rpartition("|")[2].strip() for line in text.splitlines() if "import time:" in line
    )
    names = {name.partition(".")[0] for name in lines}
    own = {name for name in names if name in sys.stdlib_module_names or name.startswith("_")}
    # Compiled forms have names of their own, and the environment may patch distutils.
    return {
        name for name in names - own if not name.startswith(("libffcx", "imported", "sitecust"))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a small dataset of Darcy flow, whose logs say what was loaded."""
    folder = tmp_path_factory.mktemp("imports")
    for name in ("Snakefile", "workflow", "profiles", "envs", "config"):
        (folder / name).symlink_to(ROOT / name)
    small = "datasets={darcy: {count: 8, mesh: {points: 9}, parameters: {modes: 8}}}"
    command = [Path(sys.executable).with_name("snakemake"), "--cores", "2", "--config", small]
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return folder


@pytest.mark.parametrize("rule", LIBRARIES)
def test_a_stage_loads_only_what_it_needs(rule: str, folder: Path):
    logs = folder / "logs/darcy"
    (log,) = [*logs.glob(f"{rule}.log"), *logs.glob(f"{rule}/*.log")]
    found = loaded(log.read_text())
    assert "kryloset" in found and found - LIBRARIES[rule] == set()


@pytest.mark.parametrize(
    ("arguments", "libraries"),
    [
        (["--help"], COMMAND),
        (["bench", "--help"], COMMAND | CONFIGURATION),
        (["solve", "--help"], COMMAND | CONFIGURATION),
        (["info", "results/darcy/dataset.h5"], READING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_look_loads_hardly_anything(arguments: list[str], libraries: set[str], folder: Path):
    command = [sys.executable, "-X", "importtime", "-m", "kryloset", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = loaded(done.stderr)
    assert "kryloset" in found and found - libraries == set()
