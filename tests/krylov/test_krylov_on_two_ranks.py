# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One process and two solve the same sequence."""

from pathlib import Path

import numpy as np
import pytest

from ranks import run_on_ranks

FILLED = {"cg-icc-iterations": 25, "bicgstab-ilu-iterations": 16}
"""Iterations on two ranks with levels of fill; without them, 28 and 18 at least."""


@pytest.mark.mpi
def test_serial_and_two_ranks_agree(tmp_path):
    for ranks in (1, 2):
        run_on_ranks(ranks, Path(__file__).with_name("two_ranks.py"), tmp_path)
    one, two = (np.load(tmp_path / f"ranks-{n}.npz") for n in (1, 2))
    assert sorted(one) == sorted(two)
    for name in one:
        if name.endswith("solution"):
            error = np.linalg.norm(one[name] - two[name]) / np.linalg.norm(one[name])
            assert error < 1e-6, name  # tolerance 1e-8 x the condition number, some hundreds
        elif "icc" not in name and "ilu" not in name:  # these become blocks, one a rank
            assert abs(one[name] - two[name]).max() <= 1, name
        elif name in FILLED:
            assert two[name].max() <= FILLED[name], name
