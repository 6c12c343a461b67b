# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Claims of a family about an instance are recorded, or stop the stage with its number."""

from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.errors import DataError, KrylosetError
from kryloset.run import solve, sort


def run(folder: Path, **settings) -> Path:
    """Draw, sort and solve; return the chunk."""
    config = DatasetConfig(
        family=f"{Path(__file__).parent / 'claims.py'}:Claims",
        count=4, mesh={"points": 5}, parameters=settings, sort="given",
        solver={"tolerance": 1e-6}, splits={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    order = folder / "order.h5"
    sort.run(config, "set", output=order, chunks=1)
    output = folder / "chunk.h5"
    solve.run(config, "set", order=order, chunk="1-of-1", output=output, comm=MPI.COMM_SELF)
    return output


def test_a_family_receives_the_tolerance(tmp_path):
    with h5py.File(run(tmp_path)) as file:
        np.testing.assert_array_equal(file["fields/u"][:, 0, 0], np.arange(4) + 1e-6)


def test_the_stored_residual_is_that_of_the_nonlinear_equation(tmp_path):
    with h5py.File(run(tmp_path, residual="5e-7")) as file:
        assert (file["solver/true_residual"][:] == 5e-7).all()


@pytest.mark.parametrize("residual", ["2e-6", "nan"])
def test_an_instance_whose_nonlinear_equation_is_not_solved_is_named(residual, tmp_path):
    message = r"instance 0: the nonlinear equation was not solved"
    with pytest.raises(KrylosetError, match=message):
        run(tmp_path, residual=residual)
    assert not (tmp_path / "chunk.h5").exists()


def test_an_instance_that_cannot_be_drawn_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^instance 2: the polygon crosses itself$"):
        run(tmp_path, undrawable=2)
    assert not (tmp_path / "order.h5").exists()


def test_an_instance_outside_the_problem_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^instance 3: a is negative$"):
        run(tmp_path, unsolvable=3)
    assert not (tmp_path / "chunk.h5").exists()
