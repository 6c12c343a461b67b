# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Theorems on the division of errors into bands of frequencies."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from scipy.fft import dctn

from kryloset.learn.bands import BANDS, Waves
from kryloset.learn.measuring import measure
from kryloset.learn.norms import square_l2

#: Equidistant and not, periodic along y: one coordinate more than points.
GRIDS = {
    "equidistant": ((33, 30), (np.linspace(0, 2, 33), np.linspace(0, 1, 30))),
    "graded": ((33, 30), (np.linspace(0, 1, 33) ** 2, np.linspace(1, 3, 30) ** 1.5)),
    "periodic": ((33, 30), (np.linspace(0, 2, 33), np.linspace(0, 1, 31))),
    "line": ((40,), (np.linspace(0, 1, 40) ** 1.5,)),
    "box": ((5, 6, 7), (np.linspace(0, 1, 5), np.linspace(0, 1, 7), np.linspace(0, 1, 7))),
}


def noise(seed, grid):
    return np.random.default_rng(seed).standard_normal((3, 2, *grid))


@pytest.mark.parametrize("name", GRIDS)
def test_parseval_the_bands_add_to_the_square_of_the_norm(name):
    grid, coordinates = GRIDS[name]
    values = noise(0, grid)
    found = sum(Waves(grid, coordinates).energies(values).values())
    tensors = [torch.from_numpy(line) for line in coordinates]
    outside = torch.zeros(values.shape, dtype=torch.bool)
    expected = square_l2(torch.from_numpy(values), outside, tensors).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("name", GRIDS)
def test_the_bands_of_an_error_add_to_its_l2_error(name):
    grid, coordinates = GRIDS[name]
    truth = np.where(noise(2, grid)[:1, :1] > 1.5, np.nan, noise(1, grid))
    errors = measure(noise(0, grid), truth, coordinates)
    added = sum(np.square(errors[band]) for band in BANDS)
    np.testing.assert_allclose(np.sqrt(added), errors["relative_l2"], rtol=1e-10)


def test_on_equidistant_points_it_is_the_cosine_transform():
    grid, coordinates = GRIDS["equidistant"]
    values = noise(3, grid)
    # SciPy's orthonormal DCT-I of √w u: the same weights but for the step, the same basis.
    ends = [
        np.where((i == 0) | (i == n - 1), np.sqrt(0.5), 1) for n in grid for i in [np.arange(n)]
    ]
    cell = np.prod([line[1] - line[0] for line in coordinates])
    expected = dctn(values, type=1, axes=(2, 3), norm=None)
    expected *= np.multiply.outer(*ends) * np.sqrt(cell / 4 / np.prod([n - 1 for n in grid]))
    found = Waves(grid, coordinates).expand(values)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)


@pytest.mark.parametrize(("waves", "band"), [(0, "low"), (4, "low"), (5, "middle"), (13, "high")])
def test_a_wave_is_in_its_band_alone(waves, band):
    x, y = np.linspace(0, 2, 65), np.arange(64) / 64
    functions = (
        np.cos(np.pi * waves * x)[:, None] * np.ones(64),  # 2 · waves half waves in [0, 2]
        np.ones(65)[:, None] * np.sin(2 * np.pi * waves * y + 0.4),
    )
    basis = Waves((65, 64), (x, np.append(y, 1.0)))
    for function in functions:
        energies = basis.energies(function[None, None])
        total = sum(energies.values())
        assert float(energies[band][0, 0]) == pytest.approx(float(total[0, 0]), rel=1e-12)


def test_on_any_points_the_number_of_waves_is_half_that_of_changes_of_sign():
    """Sturm's theorem."""
    basis = Waves((12,), (np.linspace(0, 1, 12) ** 1.2,))
    inverse = np.linalg.inv(basis.expand(np.eye(12)[:, None]).squeeze(1).T)
    changes = (np.diff(np.sign(inverse), axis=0) != 0).sum(axis=0)
    np.testing.assert_array_equal(changes, 2 * basis.numbers)
