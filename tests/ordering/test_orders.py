# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Orders at scale: permutations that stay near the exact greedy chain and cost little."""

import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from kryloset import ordering
from kryloset.ordering import greedy_chain, hilbert_chain, spanning_tree_walk, steps
from kryloset.ordering.features import cosines
from kryloset.ordering.hilbert import curve_order, hilbert_index, project_on_principal_axes
from kryloset.ordering.refine import chain_through, or_opt
from kryloset.ordering.spanning_tree import spanning_tree

type Array = NDArray[np.float64]
type Order = Callable[[Array], NDArray[np.int64]]

ORDERS: dict[str, Order] = {
    "greedy": greedy_chain,
    "hilbert": partial(hilbert_chain, cell=8),
    "or_opt": partial(hilbert_chain, cell=8, refine=True),
    "spanning_tree": spanning_tree_walk,
}
SCALABLE = {name: ordering.ORDERS[name] for name in ("hilbert", "or_opt", "spanning_tree")}

FEATURES = st.tuples(st.integers(1, 40), st.integers(1, 10)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(-8, 8).map(float))
)

every_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
every_scalable_order = pytest.mark.parametrize("order", SCALABLE.values(), ids=SCALABLE)


def length(features: Array, order: NDArray[np.int64]) -> float:
    return float(steps(features, order).sum())


@every_order
@settings(max_examples=30)
@given(features=FEATURES)
def test_an_order_is_a_permutation_and_always_the_same(order: Order, features: Array) -> None:
    found = order(features)
    assert sorted(found) == list(range(len(features)))
    assert found.tolist() == order(features.copy()).tolist()


@every_order
def test_shifting_and_scaling_the_features_keeps_the_order(order: Order) -> None:
    features = np.random.default_rng(0).standard_normal((100, 5))
    moved = 1024 * features + 4.0
    assert order(features).tolist() == order(moved).tolist()


@every_order
def test_equal_features_are_consecutive(order: Order) -> None:
    generator = np.random.default_rng(0)
    places = generator.standard_normal((20, 3))
    which = generator.permutation(np.repeat(np.arange(20), 3))
    if order is ORDERS["hilbert"] or order is ORDERS["or_opt"]:
        order = hilbert_chain
    found = which[order(places[which])]
    assert np.count_nonzero(np.diff(found)) == 19


@every_order
def test_features_that_are_not_valid_are_refused(order: Order) -> None:
    with pytest.raises(ValueError, match="instance 1"):
        order(np.array([[0.0], [np.nan], [1.0]]))
    with pytest.raises(ValueError, match="needs"):
        order(np.zeros(3))


@every_order
def test_the_order_of_no_instances_is_empty(order: Order) -> None:
    assert order(np.empty((0, 3))).tolist() == []


# The Hilbert curve


@pytest.mark.parametrize(("axes", "bits"), [(1, 5), (2, 1), (2, 5), (3, 3), (4, 2), (8, 1)])
def test_the_curve_goes_through_every_cell_from_face_to_face(axes: int, bits: int) -> None:
    cells = np.stack(np.meshgrid(*[np.arange(2**bits)] * axes, indexing="ij"), axis=-1)
    cells = cells.reshape(-1, axes).astype(np.uint64)
    index = hilbert_index(cells, bits)
    assert sorted(index) == list(range(2 ** (bits * axes)))
    along = cells[np.argsort(index)].astype(int)
    assert (abs(np.diff(along, axis=0)).sum(axis=1) == 1).all()


def test_the_curve_begins_in_the_corner() -> None:
    # The curve in the plane fills each quarter before it enters the next one.
    assert hilbert_index(np.array([[0, 0], [3, 0], [0, 3]], dtype=np.uint64), 2)[0] == 0
    quarters = {tuple(p // 2 for p in divmod(int(i), 4)) for i in curve_order(grid(4))[:4]}
    assert len(quarters) == 1


def grid(points: int) -> Array:
    return np.stack(np.divmod(np.arange(points**2), points), axis=1).astype(float)


def test_axes_are_those_of_the_variance_and_keep_distances() -> None:
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    points = generator.standard_normal((300, 6)) * [1, 32, 4, 16, 2, 8]
    projected = project_on_principal_axes(points @ turn, 6)
    np.testing.assert_allclose(cdist(projected, projected), cdist(points, points), atol=1e-9)
    variances = projected.var(axis=0)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(points.T, ddof=0))[::-1])


@given(FEATURES)
def test_with_one_cell_the_chain_is_the_greedy_one_from_its_beginning(features: Array) -> None:
    found = hilbert_chain(features, cell=len(features))
    assert length(features, found) == pytest.approx(
        length(features, chain_through_slowly(features, found[0]))
    )
    with pytest.raises(ValueError, match="cell 0"):
        hilbert_chain(features, cell=0)


def chain_through_slowly(features: Array, start: int) -> NDArray[np.int64]:
    """Greedy like `chain_through`: of several nearest vectors, take the first along the curve."""
    curve = curve_order(project_on_principal_axes(features, 8))
    distances = cdist(features[curve], features[curve])
    left, path = list(range(len(curve))), [curve.tolist().index(start)]
    left.remove(path[0])
    while left:
        path.append(min(left, key=lambda i: float(distances[path[-1], i])))
        left.remove(path[-1])
    return curve[path]


# Refinement


@given(FEATURES, st.randoms(use_true_random=False))
def test_or_opt_never_lengthens_and_keeps_the_beginning(features: Array, random: object) -> None:
    order = list(range(len(features)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = or_opt(cdist(features, features), np.array(order))
    assert sorted(found) == sorted(order)
    assert found[0] == order[0]
    assert length(features, found) <= length(features, np.array(order)) + 1e-9


def test_or_opt_moves_misplaced_instances_back() -> None:
    # A walk along a line, except that two consecutive vectors are visited last.
    line = np.arange(30.0)[:, None]
    order = [*range(12), *range(14, 30), 13, 12]
    found = or_opt(cdist(line, line), np.array(order))
    assert found.tolist() == list(range(30))


def test_or_opt_shortens_greedy_chains() -> None:
    features = np.random.default_rng(0).standard_normal((200, 3))
    distances = cdist(features, features)
    greedy = chain_through(distances, 0)
    assert greedy.tolist() == greedy_chain(features).tolist()
    assert length(features, or_opt(distances, greedy)) < 0.97 * length(features, greedy)


# The spanning tree


@settings(max_examples=50)
@given(FEATURES.filter(lambda features: len(features) > 1))
def test_the_walk_is_at_most_twice_as_long_as_the_tree(features: Array) -> None:
    everything = len(features)
    tree = spanning_tree(features, everything)
    # Sparse, since in a dense graph SciPy ignores short edges.
    distances = sp.csr_array(np.maximum(cdist(features, features), np.finfo(float).tiny))
    assert tree.nnz == len(features) - 1
    assert tree.sum() == pytest.approx(minimum_spanning_tree(distances).sum(), abs=1e-9)
    found = spanning_tree_walk(features, neighbours=everything)
    assert found[0] == 0
    assert length(features, found) <= 2 * tree.sum() + 1e-9


def test_the_tree_of_near_neighbours_is_hardly_longer_than_that_of_all_pairs() -> None:
    features = np.random.default_rng(0).standard_normal((1000, 6))
    shortest = minimum_spanning_tree(cdist(features, features)).sum()
    assert shortest <= spanning_tree(features).sum() <= 1.05 * shortest


def test_the_walk_goes_along_a_line_from_its_end() -> None:
    line = np.random.default_rng(0).permutation(50).astype(float)
    zero = int(line.argmin())
    line[[0, zero]] = line[[zero, 0]]
    assert line[spanning_tree_walk(line[:, None])].tolist() == list(range(50))
    with pytest.raises(ValueError, match="neighbours 0"):
        spanning_tree_walk(line[:, None], neighbours=0)


# At scale


@pytest.fixture(scope="module")
def exact(permeabilities: Array) -> float:
    """Return the length of the exact greedy chain, by the parameters themselves."""
    fields = permeabilities.reshape(len(permeabilities), -1)
    return length(fields, greedy_chain(fields))


@every_scalable_order
def test_a_path_is_at_most_a_quarter_longer_than_the_exact_greedy_one(
    order: Order, permeabilities: Array, exact: float
) -> None:
    # As in the stage: sorted by cosines, measured by the parameters themselves.
    fields = permeabilities.reshape(len(permeabilities), -1)
    short = cosines(permeabilities)
    assert length(fields, order(short)) <= 1.25 * exact


def test_a_greedy_chain_by_cosines_is_at_most_slightly_longer(
    permeabilities: Array, exact: float
) -> None:
    fields = permeabilities.reshape(len(permeabilities), -1)
    assert length(fields, greedy_chain(cosines(permeabilities))) <= 1.05 * exact


@pytest.mark.slow
@every_scalable_order
def test_time_and_memory_grow_little_more_than_the_number_of_instances(order: Order) -> None:
    generator = np.random.default_rng(0)
    seconds, peaks = [], []
    for count in (2_000, 16_000):
        features = generator.standard_normal((count, 16)) / np.arange(1, 17)
        began = time.process_time()
        order(features)
        seconds.append(time.process_time() - began)
        tracemalloc.start()  # with which half as many take as long
        order(features[::2])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Comparing all pairs would take 64 times as long; 8 times as many instances are sorted.
    assert seconds[1] < 2 * 8 * seconds[0]
    assert peaks[1] < 1.5 * 8 * peaks[0]
