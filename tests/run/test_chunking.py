# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`chunks: auto`: a chunk for each worker, unless chunks would be too short or too long."""

import pytest

from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.run.chunking import LEAST_SECONDS, MOST_SECONDS, choose_chunks, expect_seconds


def chosen(workers: int, **settings: object) -> tuple[int, float]:
    """Return the number of chunks, and the seconds that each is expected to take."""
    config = DatasetConfig(**settings)
    family = load_family(config)
    chunks = choose_chunks(config, family, workers)
    return chunks, config.count * expect_seconds(family) / chunks


def test_a_small_set_is_one_chunk_however_many_workers_there_are():
    assert [chosen(workers)[0] for workers in (1, 2, 64)] == [1, 1, 1]


@pytest.mark.parametrize("workers", [1, 2, 7, 100])
def test_a_large_set_has_a_chunk_for_each_worker(workers: int):
    chunks, seconds = chosen(workers, count=20_000, mesh={"points": 256})
    assert chunks == workers
    assert LEAST_SECONDS <= seconds <= MOST_SECONDS


def test_chunks_of_many_workers_take_a_second_at_least():
    chunks, seconds = chosen(1000, count=10_000)
    assert 2 <= chunks < 1000
    assert LEAST_SECONDS <= seconds < 2 * LEAST_SECONDS


def test_long_chunks_are_divided_evenly_among_the_workers():
    chunks, seconds = chosen(50, count=1_000_000, mesh={"points": 1025})
    assert chunks % 50 == 0
    assert MOST_SECONDS / 2 < seconds <= MOST_SECONDS


def test_a_chunk_has_an_instance_at_least():
    assert chosen(1000, count=8, mesh={"points": 8193})[0] == 8


def test_a_number_in_the_configuration_counts():
    assert chosen(64, chunks=3)[0] == 3


def test_longer_instances_are_expected_to_take_longer():
    def seconds(**settings: object) -> float:
        return expect_seconds(load_family(DatasetConfig(**settings)))

    assert seconds(mesh={"points": 128}) > 4 * seconds(mesh={"points": 64})
    # The same number of values, but more entries in a factor, more steps, or Newton iterations.
    plane, box = ({"points": p, "dimension": d} for p, d in ((64, 2), (16, 3)))
    modes = {"modes": 8}
    assert seconds(mesh=box, parameters=modes) > seconds(mesh=plane, parameters=modes)
    assert seconds(family="heat") > seconds(family="reaction_diffusion") > seconds()
