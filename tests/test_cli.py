# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the command line promises whatever the command."""

import subprocess
import sys

#: A file may hold bytes that are no characters; h5py reads them as lone surrogates.
INFO = r"""
import sys
from kryloset import cli
from kryloset.dataset import description
description.describe = lambda path: "é \udcff"
sys.argv = ["kryloset", "info", "file.h5"]
cli.main()
"""


def test_bytes_that_are_no_characters_are_written_escaped() -> None:
    done = subprocess.run([sys.executable, "-c", INFO], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "é \\udcff\n"), done.stderr
