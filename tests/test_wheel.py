# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A notebook runs with the wheel and FEniCSx alone, without the workflow."""

import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import kryloset
from documentation import read_blocks
from installing import build_wheel, make_environment, run_clean
from running import TINY, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel and FEniCSx."""
    folder = tmp_path_factory.mktemp("clean")
    return make_environment(folder, wheel, "fenicsx", "requirements.txt")


def test_the_wheel_declares_its_requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        files = {Path(name).name for name in archive.namelist()}
    assert {"kernels.c", "page.html.jinja", "py.typed", "Snakefile"} <= files
    assert metadata["Version"] == kryloset.__version__
    needs = metadata.get_all("Requires-Dist")
    base = {re.split("[<>=]", need)[0] for need in needs if "extra ==" not in need}
    assert base == {
        "cffi", "h5netcdf", "h5py", "numpy", "packaging", "pydantic", "pyyaml", "rich", "scipy",
        "xarray",
    }  # fmt: skip
    assert set(metadata.get_all("Provides-Extra")) == {
        "export",
        "fenicsx",
        "learn",
        "report",
        "workflow",
    }


def test_the_workflow_of_the_wheel_runs_in_any_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    file = tmp_path / "installed/kryloset/snakemake/workflow/Snakefile"
    (tmp_path / "work").mkdir()
    (tmp_path / "work/c.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": TINY}}))
    arguments = ("--cores", "2", "--snakefile", file, "--configfile", "c.yaml")
    done = snakemake(*arguments, cwd=tmp_path / "work")
    assert done.code == 0, done.output
    assert (tmp_path / "work/results/tiny/report.html").exists()


def test_a_notebook_runs_beside_fenicsx_alone(clean, tmp_path):
    first, then = read_blocks("docs/tutorial/notebook.md")[:2]
    (matrices,) = (b for b in read_blocks("docs/tutorial/notebook.md") if "solve_sequence" in b)
    (tmp_path / "notebook.py").write_text(
        first + then + matrices + "import importlib.util as found\n"
        "for name in ('snakemake', 'typer', 'matplotlib', 'jinja2', 'torch'):\n"
        "    assert found.find_spec(name) is None, name\n"
    )
    done = run_clean([clean / "python", "notebook.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("('x', 'y') 0.")
    assert 0 < float(lines[1]) <= 1e-8
    assert lines[-1].startswith("9 ")


def test_the_command_names_the_missing_extra(clean, tmp_path):
    done = run_clean([clean / "kryloset", "--help"], tmp_path)
    assert done.returncode == 1
    assert "this needs `typer`, which is not installed" in done.stderr
    assert "pip install 'kryloset[workflow]'" in done.stderr
