# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all commands of the command line have in common."""

import subprocess
import sys

#: A file may hold bytes that are not UTF-8; h5py reads them as lone surrogates.
INFO = r"""
import sys
from kryloset.__main__ import main
from kryloset.dataset import description
description.describe = lambda path: "é \udcff"
sys.argv = ["kryloset", "info", "file.h5"]
main()
"""


def test_undecodable_bytes_are_printed_escaped() -> None:
    done = subprocess.run([sys.executable, "-c", INFO], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "é \\udcff\n"), done.stderr


#: Prints which of the slow libraries `kryloset --help` has loaded.
LOADED = r"""
import sys
from kryloset import cli
slow = {"dolfinx", "h5py", "mpi4py", "numpy", "petsc4py", "pydantic", "scipy", "xarray", "yaml"}
print(*slow & set(sys.modules))
"""


def test_help_imports_no_heavy_library() -> None:
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
