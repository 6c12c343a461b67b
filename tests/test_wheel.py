# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A notebook runs with the wheel and FEniCSx alone, without the workflow."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import kryloset
from documentation import ROOT, read_blocks
from running import TINY, snakemake

pytestmark = pytest.mark.slow

UV = shutil.which("uv", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from this checkout."""
    if UV is None:
        pytest.skip("needs uv, which `make test` installs")
    folder = tmp_path_factory.mktemp("dist")
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", folder, ROOT]
    subprocess.run([*build, "--python", sys.executable], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel and FEniCSx, in the versions that `make lock` chose."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    binaries = folder / "venv/bin"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", binaries / "python",
         "--constraints", ROOT / "envs/requirements.txt", f"kryloset[fenicsx] @ {wheel.as_uri()}"],
        check=True,
    )  # fmt: skip
    return binaries


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the clean environment, isolated from this one."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


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
    done = run([clean / "python", "notebook.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("('x', 'y') 0.")
    assert 0 < float(lines[1]) <= 1e-8
    assert lines[-1].startswith("9 ")


def test_the_command_names_the_missing_extra(clean, tmp_path):
    done = run([clean / "kryloset", "--help"], tmp_path)
    assert done.returncode == 1
    assert "this needs `typer`, which is not installed" in done.stderr
    assert "pip install 'kryloset[workflow]'" in done.stderr
