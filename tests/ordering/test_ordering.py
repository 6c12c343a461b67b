# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The greedy chain is a permutation that goes to the nearest; chunks cover it once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from kryloset.ordering import greedy_chain, partition, steps

FEATURES = st.tuples(st.integers(1, 24), st.integers(1, 4)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(-8, 8).map(float))
)


def chain_of_the_paper(features: NDArray[np.float64]) -> list[int]:
    """Algorithm 1 of the SKR paper, implemented literally: slow, and obviously right."""
    order, left = [0], list(range(1, len(features)))
    while left:
        here = features[order[-1]]
        nearest = min(left, key=lambda i: float(((features[i] - here) ** 2).sum()))
        order.append(nearest)
        left.remove(nearest)
    return order


@given(FEATURES)
def test_greedy_chain_is_that_of_the_paper_ties_included(features: NDArray[np.float64]) -> None:
    # Small whole numbers: ties abound, and distances are exact.
    assert greedy_chain(features).tolist() == chain_of_the_paper(features)


@given(FEATURES, st.data())
def test_greedy_chain_is_a_permutation_from_any_start(
    features: NDArray[np.float64], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(features) - 1))
    order = greedy_chain(features, start)
    assert order[0] == start
    assert sorted(order) == list(range(len(features)))


def test_greedy_chain_walks_along_a_line() -> None:
    shuffled = np.random.default_rng(0).permutation(50)
    start = int(np.flatnonzero(shuffled == 0)[0])
    order = greedy_chain(shuffled[:, None].astype(float), start)
    assert shuffled[order].tolist() == list(range(50))
    assert steps(shuffled[:, None], order).tolist() == [1.0] * 49


@pytest.mark.parametrize(
    ("features", "start", "message"),
    [
        (np.zeros(3), 0, "needs"),
        (np.array([[0.0], [np.nan]]), 0, "instance 1"),
        (np.zeros((3, 1)), 3, "start 3"),
    ],
)
def test_invalid_arguments_of_greedy_chain_are_refused(
    features: NDArray[np.float64], start: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        greedy_chain(features, start)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_chunks_cover_the_order_once_and_differ_by_one(sizes: tuple[int, int]) -> None:
    count, chunks = sizes
    lengths = np.diff(partition(count, chunks))
    assert lengths.sum() == count and len(lengths) == chunks
    assert lengths.min() >= 1 and lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(("count", "chunks"), [(3, 4), (3, 0), (0, 1)])
def test_partition_refuses_an_empty_chunk(count: int, chunks: int) -> None:
    with pytest.raises(ValueError, match="cannot fill"):
        partition(count, chunks)


@given(
    st.lists(st.floats(0, 100), min_size=0, max_size=300),
    st.integers(1, 12),
    st.floats(0, 0.9),
)
def test_bounds_are_on_the_longest_steps_within_reach(
    lengths: list[float], chunks: int, tolerance: float
) -> None:
    count = len(lengths) + 1
    chunks = min(chunks, count)
    even = partition(count, chunks)
    bounds = partition(count, chunks, np.array(lengths), tolerance=tolerance)
    sizes = np.diff(bounds)
    assert sizes.sum() == count and sizes.min() >= 1
    assert (abs(sizes - count / chunks) < tolerance * count / chunks + 1).all()
    reach = int(tolerance / 2 * (count // chunks))
    for place, bound in zip(even[1:-1], bounds[1:-1], strict=True):
        within = lengths[place - reach - 1 : place + reach]
        assert abs(bound - place) <= reach
        assert lengths[bound - 1] == max(within)


def test_equal_steps_leave_chunks_as_they_are() -> None:
    found = partition(100, 7, np.ones(99), tolerance=0.5)
    assert found.tolist() == partition(100, 7).tolist()


def test_a_few_instances_are_divided_evenly_whatever_the_steps() -> None:
    # Half the tolerance of a chunk is less than an instance.
    found = partition(64, 2, np.random.default_rng(0).uniform(size=63), tolerance=0.02)
    assert found.tolist() == [0, 32, 64]


@pytest.mark.parametrize(
    ("lengths", "tolerance", "message"), [(8, 0.1, "9 steps"), (9, 0.95, "tolerance 0.95")]
)
def test_invalid_arguments_of_partition_are_refused(
    lengths: int, tolerance: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        partition(10, 2, np.ones(lengths), tolerance=tolerance)
