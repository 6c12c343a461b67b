# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Environments in which the package is installed from its wheel, as somebody else would do it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from documentation import ROOT

UV = shutil.which("uv", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")


def build_wheel(folder: Path) -> Path:
    """Build the wheel from this checkout."""
    if UV is None:
        pytest.skip("needs uv, which `make test` installs")
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", folder, ROOT]
    subprocess.run([*build, "--python", sys.executable], check=True)
    (found,) = folder.glob("*.whl")
    return found


def make_environment(folder: Path, wheel: Path, extra: str, pinned: str) -> Path:
    """Make an environment with the wheel and what an extra of it needs.

    Args:
        folder: Where to.
        wheel: The wheel.
        extra: Name of the extra.
        pinned: The file in envs/ with the versions, which `make lock` chose.

    Returns:
        The folder of its programs.
    """
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    binaries = folder / "venv/bin"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", binaries / "python", "--link-mode", "symlink",
         "--constraints", ROOT / "envs" / pinned, f"kryloset[{extra}] @ {wheel.as_uri()}"],
        check=True,
    )  # fmt: skip
    return binaries


def run_clean(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of such an environment, isolated from this one."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
