# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs have at the points of the grid what a file has in the cells of its lattice."""

from mpi4py import MPI

import numpy as np
import pytest

pytest.importorskip("torch")

import kryloset
from kryloset.dataset.reader import Dataset
from kryloset.learn.data import FieldPairs
from kryloset.run import solve, sort
from merging import merge_verified


def test_a_point_takes_the_value_of_the_lower_of_the_cells_around_it(tmp_path):
    settings = {"permeability": "two_valued", "placement": "cells", "modes": 2}
    family = kryloset.family("darcy", points=(9, 5), sides=(2, 1), degree=2, **settings)
    config = family.configuration(count=4)
    order, chunk, path = (tmp_path / name for name in ("order.h5", "1-of-1.h5", "dataset.h5"))
    sort.run(config, "box", output=order)
    solve.run(config, "box", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    merge_verified(config, "box", order=order, chunks=[chunk], output=path)
    pairs = FieldPairs(path, "train")
    assert pairs.inputs == ("k",) and pairs.grid == (9, 5)
    x, _ = pairs.arrays(0)
    with Dataset(path) as data:
        k = data.rows("k", pairs.instances[0], pairs.instances[0] + 1)[0]
    assert k.shape == (4, 2)
    # Two points of quadratic elements are in each cell, beside its lower vertex.
    np.testing.assert_array_equal(x[0, 1:, 1:], np.kron(k, np.ones((2, 2))))
    np.testing.assert_array_equal(x[0, 0, 1:], np.repeat(k[0], 2))
