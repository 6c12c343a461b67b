# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which libraries each stage and command loads: no others, since each start pays for them."""

import os
import resource
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
    "solve_chunk": READING | {"scipy"} | FENICSX,
    "verify_chunk": READING | {"scipy"} | FENICSX,
    "merge_chunks": READING | {"scipy"},
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


def look(folder: Path, *arguments: str) -> tuple[float, set[str]]:
    """Return the seconds of the processor that Python takes, and the libraries that it loads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, loaded(done.stderr)


@pytest.fixture(scope="module")
def least(folder: Path) -> float:
    """Processor seconds in which Python loads what opens a dataset, and does nothing."""
    return look(folder, "-c", "import h5py")[0]


@pytest.mark.parametrize(
    ("arguments", "libraries", "limit"),
    [
        (["--help"], COMMAND, 2.0),
        (["bench", "--help"], COMMAND | CONFIGURATION, 4.0),
        (["solve", "--help"], COMMAND | CONFIGURATION, 4.0),
        (["info", "results/darcy/dataset.h5"], READING, 8.0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_look_loads_hardly_anything(
    arguments: list[str], libraries: set[str], limit: float, folder: Path, least: float
):
    """Nor does it take long: here, by the clock of the processor, about half of the limit."""
    seconds, found = look(folder, "-m", "kryloset", *arguments)
    assert "kryloset" in found and found - libraries == set()
    assert seconds < limit * least


def frozen(program: str, *arguments: str, folder: Path) -> int:
    """Return how many objects are frozen as a program ends."""
    # What is registered first is done last.
    count = "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count()))"
    command = [sys.executable, "-c", f"{count}; {program}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_nothing_is_said_to_leak(folder: Path):
    """As it would be where triton finds at the end what was left."""
    pytest.importorskip("triton")
    program = "import triton._C.libtriton; from kryloset.__main__ import main; main()"
    command = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "leaked" not in done.stderr


def test_nothing_looks_for_garbage_at_the_end(folder: Path):
    """What Snakemake and a command have loaded is not gone through once more."""
    kryloset = "from kryloset.__main__ import main; main()"
    assert frozen(kryloset, "--version", folder=folder) > 10_000
    snakemake = "from snakemake.cli import main; main()"
    assert frozen(snakemake, "--dry-run", "--quiet", "all", folder=folder) > 100_000
