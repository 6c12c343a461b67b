# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all commands of the command line have in common."""

import re
import subprocess
import sys

import pytest

from kryloset.cli import app
from kryloset.errors import ConfigError, DataError

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


#: What a command is given with a path for two things, and what it says of it.
TWICE = [
    ("evaluate model.pt --data data.h5 --output data.h5", "--output data.h5 is --data"),
    ("evaluate model.pt --data x --output link/model.pt", "--output link/model.pt is `model`"),
    ("evaluate m --data d --output x --calibration x", "--calibration x is --output"),
    ("evaluate m --data d --output x --predictions ./x", "--predictions x is --output"),
    ("train c.yaml n --data d --model c.yaml --history h", "--model c.yaml is `config`"),
    ("choose c n a b --pool 9 --count 1 --output b", "--output b is `models`"),
    ("export-model model.pt model.pt", "`output` model.pt is `model`"),
    (
        "merge c n --order o --verified v --output d --check d --timings t --choices s a b",
        "--check d is --output",
    ),
    ("check data.h5 --output data.h5", "--output data.h5 is `dataset`"),
    ("report data.h5 --predictions a --predictions b --output b", "--predictions b is --output"),
    ("export data.h5 --to netcdf --output data.h5", "--output data.h5 is `file`"),
    ("restore data.h5 data.h5", "`folder` data.h5 is `file`"),
]


@pytest.mark.parametrize(("command", "told"), TWICE)
def test_what_is_read_is_not_written_over(command, told, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}, too: give what is written a name"):
        app(command.split(), standalone_mode=False)
    assert [*tmp_path.iterdir()] == [tmp_path / "link"]


def test_what_is_only_read_may_be_named_twice(tmp_path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        app(["diff", str(tmp_path / "a.h5"), str(tmp_path / "a.h5")], standalone_mode=False)
