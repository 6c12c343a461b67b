# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Templates are compiled once for a user."""

import errno
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.bccache import Bucket

from kryloset.report.yardstick import render_printed


def test_a_template_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    page = render_printed({"families": "a table"})
    monkeypatch.delattr(Environment, "compile")
    assert render_printed({"families": "a table"}) == page


def test_a_page_is_made_where_no_template_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "no_folder").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no_folder"))
    assert "a table" in render_printed({"families": "a table"})


def test_a_page_is_made_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(bucket: Bucket, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Bucket, "write_bytecode", fail)
    assert "a table" in render_printed({"families": "a table"})
