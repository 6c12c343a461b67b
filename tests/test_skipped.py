# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `make test` skips is noted, so that CI runs it once nothing is missing."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from running import ROOT

TESTS = """
import pytest

missing = pytest.mark.skipif(True, reason="something is missing")

@missing
@pytest.mark.parametrize("name", ["of two words", "[-n]"])
def test_skipped(name): ...

def test_run(): ...
"""


def run_pytest(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "--numprocesses=1", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_exactly_what_was_skipped_is_run_again(tmp_path: Path):
    for name in ("conftest.py", "running.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('nothing')")
    run_pytest("--note-skipped=noted", folder=tmp_path)
    noted = (tmp_path / "noted").read_text().splitlines()
    some = [f"test_some.py::test_skipped[{name}]" for name in ("[-n]", "of two words")]
    assert sorted(noted) == ["test_file.py", *some]
    (tmp_path / "test_some.py").write_text(TESTS.replace("True", "False"))
    (tmp_path / "test_file.py").write_text("def test_whole(): ...")
    assert "3 passed" in run_pytest("--note-skipped=noted", "@noted", folder=tmp_path)
    assert (tmp_path / "noted").read_text() == ""


def test_tests_can_be_made_again(tmp_path: Path):
    """Although what the last run skipped is noted: pytest may take that file for one of tests."""
    (tmp_path / "noted").touch()
    make = ["make", "--dry-run", "test", f"SKIPPED={tmp_path}/noted"]
    # Where make itself runs this test, it tells another make so, and with which variables.
    outside = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    told = subprocess.run(
        make, cwd=ROOT, env=outside, capture_output=True, text=True, check=True
    ).stdout
    pytest = shlex.split(told.splitlines()[-1])
    # It reads all options, and runs no test.
    done = subprocess.run([*pytest, "--markers"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
