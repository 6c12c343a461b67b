# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the buffers of online training keep, give and forget."""

from collections import Counter

import pytest

pytest.importorskip("torch")

import torch

from kryloset.learn.buffers import Buffer, make_buffer


def begin(name: str, capacity: int = 8, threshold: int = 4, seed: int = 0) -> Buffer:
    generator = torch.Generator().manual_seed(seed)
    return make_buffer(name, capacity=capacity, threshold=threshold, generator=generator)


def item(number: int) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([number]), "y": torch.tensor([[-number]])}


def fill(buffer: Buffer, numbers: range) -> list[bool]:
    return [buffer.put(item(number)) for number in numbers]


def take(buffer: Buffer, size: int) -> list[int]:
    batch = buffer.take(size)
    assert all(int(one["x"]) == -int(one["y"]) for one in batch)
    return [int(one["x"]) for one in batch]


def test_fifo_gives_each_pair_once_in_order():
    buffer = begin("fifo")
    assert fill(buffer, range(9)) == [True] * 8 + [False]
    assert take(buffer, 3) + take(buffer, 3) == [*range(6)]
    assert not buffer.is_ready(2)
    buffer.over = True
    assert take(buffer, 3) == [6, 7] and not buffer.is_ready(1)


def test_firo_gives_each_pair_once_in_random_order():
    found = []
    for seed in (0, 1):
        buffer = begin("firo", seed=seed)
        fill(buffer, range(8))
        found.append(take(buffer, 3) + take(buffer, 5))
        assert sorted(found[-1]) == [*range(8)] and len(buffer) == 0
    assert found[0] != found[1]


def test_a_reservoir_forgets_only_what_was_learnt_from():
    buffer = begin("reservoir")
    fill(buffer, range(8))
    assert not buffer.put(item(8))
    learnt = take(buffer, 3)
    assert len(set(learnt)) == 3 and len(buffer) == 8
    assert fill(buffer, range(8, 12)) == [True] * 3 + [False]
    assert sorted(take(buffer, 8)) == sorted({*range(11)} - {*learnt})


def test_a_reservoir_draws_its_pairs_equally_often():
    buffer = begin("reservoir", capacity=5)
    fill(buffer, range(5))
    count = 2000
    drawn = Counter(number for _ in range(count) for number in take(buffer, 2))
    # Each is in two of five batches; five standard deviations.
    deviation = (count * 0.4 * 0.6) ** 0.5
    assert all(abs(drawn[number] - 0.4 * count) < 5 * deviation for number in range(5))


def test_a_balanced_reservoir_draws_by_what_was_missed():
    first = Counter()
    for seed in range(2000):
        buffer = begin("balanced", capacity=4, threshold=1, seed=seed)
        fill(buffer, range(1))
        take(buffer, 1), take(buffer, 1)
        fill(buffer, range(1, 2))
        first[take(buffer, 1)[0]] += 1
    # 1/3 to 1, after two draws and none; five standard deviations.
    assert abs(first[0] - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5


def test_pairs_that_come_late_catch_up_in_a_balanced_reservoir():
    drawn = {}
    for name in ("reservoir", "balanced"):
        buffer, counts = begin(name, capacity=80, threshold=1), Counter()
        for number in range(80):
            fill(buffer, range(number, number + 1))
            counts.update(number for _ in range(4) for number in take(buffer, 4))
        drawn[name] = sum(counts[number] for number in range(70, 80))
    assert drawn["balanced"] > 1.5 * drawn["reservoir"]


def test_a_full_balanced_reservoir_forgets_what_was_learnt_from_most():
    buffer = begin("balanced", capacity=3, threshold=1)
    fill(buffer, range(3))
    assert not buffer.put(item(3))
    (once,) = take(buffer, 1)
    assert buffer.put(item(3)) and not buffer.put(item(4))
    assert sorted(take(buffer, 3)) == sorted({0, 1, 2, 3} - {once})


@pytest.mark.parametrize("name", ["fifo", "firo", "reservoir", "balanced"])
def test_nothing_is_learnt_before_the_threshold(name):
    buffer = begin(name)
    fill(buffer, range(3))
    assert not buffer.is_ready(2)
    fill(buffer, range(3, 4))
    assert buffer.is_ready(2) and not buffer.is_ready(5)


@pytest.mark.parametrize("name", ["fifo", "firo", "reservoir", "balanced"])
def test_a_restored_buffer_goes_on_alike(name):
    buffer, other = begin(name), begin(name, seed=1)
    fill(buffer, range(8))
    take(buffer, 2)
    fill(buffer, range(8, 10))
    other.restore(buffer.state())
    for _ in range(2):
        assert take(buffer, 3) == take(other, 3)
        assert buffer.put(item(20)) == other.put(item(20))
    empty = begin(name)
    empty.restore(begin(name).state())
    assert len(empty) == 0
