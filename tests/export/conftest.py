# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Small datasets, each made once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from kryloset.run import export
from small_sets import make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns the file of a small dataset."""
    folder = tmp_path_factory.mktemp("small")
    return cache(lambda name: make_small(folder / f"{name}.h5", name))


@pytest.fixture
def exported(small, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports a small dataset and returns the output."""

    def run(name: str, to: str, output: str = "out", **options) -> Path:
        export.run(small(name), to=to, output=tmp_path / output, **options)
        return tmp_path / output

    return run
