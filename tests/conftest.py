# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all tests have in common: their settings, and a folder for the whole workflow."""

import os
from pathlib import Path

# Set before NumPy is loaded: the vectors of the tests are too short for threads, which would
# slow them down many times on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Otherwise the time of making would differ between two files that have the same bytes.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")

import hypothesis
import pytest
import yaml

from running import ROOT, TINY

# Tests run in parallel, so the time of a single example means nothing.
hypothesis.settings.register_profile("beside others", deadline=None)
hypothesis.settings.load_profile("beside others")

# What a test writes need not outlast a power cut. The commands that tests start wait for the disk.
os.fsync = lambda handle: None


class Skipped:
    """What is skipped, file by file or test by test."""

    def __init__(self, noted: Path) -> None:
        """Give the file to note it in, which `pytest @FILE` runs once nothing is missing."""
        self.noted, self.found = noted, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test."""
        self._take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take a file."""
        self._take(report)

    def _take(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped:
            self.found.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Note them, one a line."""
        self.noted.write_text("".join(f"{what}\n" for what in self.found))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-skipped", type=Path, metavar="FILE", help="note what is skipped")


def pytest_configure(config: pytest.Config) -> None:
    noted = config.getoption("note_skipped")
    if noted is not None and not hasattr(config, "workerinput"):  # once, for all processes
        config.pluginmanager.register(Skipped(noted))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the workflow and a configuration of one tiny dataset."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": TINY}}))
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path
