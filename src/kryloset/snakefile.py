# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The workflow that comes with the package, and the command that runs it from any folder."""

import shlex
import sys
from pathlib import Path
from shutil import which


def find_snakefile() -> Path:
    """Return the Snakefile: that of the clone that the package runs from, or the installed one."""
    package = Path(__file__).parent
    root = package.parents[1] if package.parent.name == "src" else package / "snakemake"
    return root / "workflow/Snakefile"


def command(options: str) -> str:
    """Return the command that runs the workflow.

    Args:
        options: Further options, as for a shell.
    """
    # If the environment is not activated, the program is beside this Python.
    beside = Path(sys.executable).with_name("snakemake")
    program = "snakemake" if which("snakemake") else shlex.quote(str(beside))
    return f"{program} --cores all --snakefile {shlex.quote(str(find_snakefile()))} {options}"
