# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference sequences are the documented matrices."""

import numpy as np
import pytest
import scipy.sparse as sp

from kryloset.bench import sequences
from kryloset.bench.sequences import DRAWN, KINDS, make_sequence

SIZE = 12


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """A positive coefficient without symmetry."""
    return np.exp(np.random.default_rng(1).standard_normal((SIZE + 2, SIZE + 2)))


def index(x: int, y: int, size: int) -> int:
    """Return the number of an interior point, counted from 0."""
    return x * size + y


def dense_darcy(a: np.ndarray) -> np.ndarray:
    """Add the flux through each face between neighbours (points from 1 on; 0 on the boundary)."""
    size = len(a) - 2
    matrix = np.zeros((size**2, size**2))
    for x in range(1, size + 1):
        for y in range(1, size + 1):
            here = index(x - 1, y - 1, size)
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                p, q = x + dx, y + dy
                face = 2 / (1 / a[x, y] + 1 / a[p, q])
                matrix[here, here] += face
                if 1 <= p <= size and 1 <= q <= size:
                    matrix[here, index(p - 1, q - 1, size)] -= face
    return matrix


def test_darcy_on_a_grid_of_nine_points_is_the_sum_over_faces(field):
    a = field[:5, :5]
    np.testing.assert_allclose(KINDS["darcy"](a).toarray(), dense_darcy(a), rtol=1e-14)


def test_darcy_is_symmetric_positive_definite(field):
    matrix = KINDS["darcy"](field).toarray()
    assert np.array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix)[0] > 0


def test_rows_of_darcy_sum_to_what_flows_through_the_boundary(field):
    sums = KINDS["darcy"](field).sum(axis=1).reshape(SIZE, SIZE)
    np.testing.assert_allclose(sums[1:-1, 1:-1], 0, atol=1e-13)
    assert (sums[0] > 0).all() and (sums[-1] > 0).all()
    assert (sums[:, 0] > 0).all() and (sums[:, -1] > 0).all()


@pytest.mark.parametrize("kind", ["darcy", "scaled", "published"])
def test_a_constant_coefficient_gives_the_five_point_laplacian(kind):
    one = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(SIZE, SIZE))
    identity = sp.eye_array(SIZE)
    laplacian = sp.kron(one, identity) + sp.kron(identity, one)
    matrix = KINDS[kind](np.full((SIZE + 2, SIZE + 2), 3.0))
    assert np.array_equal(matrix.toarray(), 3 * laplacian.toarray())


def test_scaled_is_the_laplacian_of_a_times_u(field):
    laplacian = KINDS["scaled"](np.ones_like(field))
    columns = sp.diags_array(field[1:-1, 1:-1].ravel())
    expected = (laplacian @ columns).toarray()
    assert np.array_equal(KINDS["scaled"](field).toarray(), expected)
    assert not np.array_equal(expected, expected.T)


def test_published_differs_from_scaled_in_the_south_band_alone(field):
    published, scaled = KINDS["published"](field), KINDS["scaled"](field)
    difference = (published - scaled).tocoo()
    difference.eliminate_zeros()
    assert set(difference.col - difference.row) == {-SIZE}
    south, right = published.diagonal(-SIZE), scaled.diagonal(-SIZE)
    # Entry i of the band belongs to row i + SIZE, and is that of row i + SIZE - 2.
    assert np.array_equal(south[2:], right[:-2])


def test_published_is_indefinite_on_the_sequence():
    matrix = make_sequence("published", 20, 1, drawn=2).matrices[0].toarray()
    values = np.linalg.eigvals(matrix).real
    assert values.min() < 0 < values.max()


def test_published_helmholtz_is_published_with_the_wave_term_off_the_diagonal():
    published, waves = (
        make_sequence(kind, SIZE, 3, drawn=4) for kind in ("published", "published_helmholtz")
    )
    assert np.array_equal(waves.parameters, published.parameters)
    assert not published.wavenumbers.any()
    k = waves.wavenumbers
    assert len(np.unique(k)) == 3 and ((k > 0) & (k < 1)).all()
    h = 1 / (SIZE + 1)
    for wave, matrix, number in zip(waves.matrices, published.matrices, k, strict=True):
        difference = (matrix - wave).toarray()
        np.testing.assert_allclose(difference, h**2 * number**2 * np.eye(SIZE**2), atol=1e-15)


def test_wavenumbers_are_uniform_and_do_not_depend_on_the_count():
    many = make_sequence("published_helmholtz", 2, 300, drawn=300)
    few = make_sequence("published_helmholtz", 2, 5, drawn=300)
    assert np.array_equal(few.wavenumbers, many.wavenumbers[:5])
    # Kolmogorov's bound of 1.95 / sqrt(n) is passed by chance once in a thousand times.
    steps = np.arange(1, 301) / 300
    assert abs(np.sort(many.wavenumbers) - steps).max() < 1.95 / np.sqrt(300)


def test_wind_adds_an_upwind_drift_to_darcy(field):
    drift = (KINDS["wind"](field) - KINDS["darcy"](field)).toarray()
    off_diagonal = drift - np.diag(drift.diagonal())
    # Inflow from at most one neighbour along each axis, and an M-matrix: no new extremum.
    assert (off_diagonal <= 0).all()
    assert ((off_diagonal < 0).sum(axis=1) <= 2).all()
    inner = drift.sum(axis=1).reshape(SIZE, SIZE)[1:-1, 1:-1]
    np.testing.assert_allclose(inner, 0, atol=1e-12)
    assert not np.allclose(drift, drift.T)


def test_the_wind_blows_in_an_eddy():
    a = np.ones((SIZE + 2, SIZE + 2))
    drift = (KINDS["wind"](a) - KINDS["darcy"](a)).toarray()
    h = 1 / (SIZE + 1)
    x, y = 3, 9
    wx = sequences.WIND * h * np.sin(np.pi * x * h) * np.cos(np.pi * y * h)
    wy = -sequences.WIND * h * np.cos(np.pi * x * h) * np.sin(np.pi * y * h)
    assert wx < 0 and wy < 0
    row = drift[index(x - 1, y - 1, SIZE)]
    assert row[index(x - 1, y - 1, SIZE)] == pytest.approx(abs(wx) + abs(wy))
    # Both components are negative, so the inflow is from x + h and y + h.
    assert row[index(x, y - 1, SIZE)] == pytest.approx(wx)
    assert row[index(x - 1, y, SIZE)] == pytest.approx(wy)


@pytest.mark.parametrize("kind", KINDS)
def test_systems_share_a_five_point_pattern_with_columns_in_order(kind):
    systems = make_sequence(kind, SIZE, 3, drawn=4)
    assert len(systems.matrices) == len(systems.parameters) == 3
    first = systems.matrices[0]
    assert first.shape == (SIZE**2, SIZE**2)
    assert first.nnz == 5 * SIZE**2 - 4 * SIZE
    for matrix in systems.matrices:
        assert matrix.has_canonical_format
        assert np.array_equal(matrix.indptr, first.indptr)
        assert np.array_equal(matrix.indices, first.indices)
    assert np.array_equal(systems.rhs, np.full(SIZE**2, 1 / (SIZE + 1) ** 2))


def test_matrices_are_made_of_the_parameters_of_the_same_number():
    systems = make_sequence("scaled", SIZE, 3, drawn=4)
    for a, matrix in zip(systems.parameters, systems.matrices, strict=True):
        assert np.array_equal(matrix.diagonal(), 4 * a[1:-1, 1:-1].ravel())


def test_the_first_systems_do_not_depend_on_the_count():
    few, many = (make_sequence("darcy", SIZE, count, drawn=6) for count in (2, 5))
    assert np.array_equal(few.parameters, many.parameters[:2])
    other = make_sequence("darcy", SIZE, 2, drawn=7)
    assert not np.allclose(few.parameters[1], other.parameters[1])


def test_fields_have_mean_zero_and_the_covariance_of_their_definition():
    fields = sequences.draw_fields(np.random.default_rng(0), 400, 16)
    assert fields.shape == (400, 16, 16)
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0, atol=1e-12)
    # Variance: the sum of 2 tau^3 (tau^2 + 4 pi^2 |k|^2)^-2.5 over all k but 0.
    k = np.fft.fftfreq(16, 1 / 16)
    spectrum = 2 * 7.0**3 * (49 + 4 * np.pi**2 * (k[:, None] ** 2 + k**2)) ** -2.5
    assert fields.var() == pytest.approx(spectrum.sum() - spectrum[0, 0], rel=0.05)


@pytest.mark.parametrize(
    ("kind", "entries", "norm"),
    [
        ("darcy", (5.009797329463957, -1.091800794905993, 5.0129196061864665), 53.276256978502595),
        ("scaled", (5.010243613461873, -1.09637591708256, 5.34222508009114), 53.54941863428118),
        ("published", (5.010243613461873, -0.8332386287762165, 5.34222508009114), 53.5531930701985),
        ("wind", (13.965090809310245, -1.091800794905993, 14.561595702308502), 253.21182757073228),
    ],
)
def test_entries_stay_those_of_the_sequences_with_published_counts(kind, entries, norm):
    data = make_sequence(kind, SIZE, 2, drawn=DRAWN).matrices[1].data
    # To rounding: exponentials differ in the last digit between processors.
    assert data[[0, 100, -1]] == pytest.approx(entries, rel=1e-12)
    assert np.linalg.norm(data) == pytest.approx(norm, rel=1e-12)
