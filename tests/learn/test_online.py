# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Online training depends on the pairs and their order alone, and resumes to the same bits."""

import pytest

pytest.importorskip("torch")

import torch
from pydantic import ValidationError

from kryloset.config import TrainingConfig
from kryloset.learn.data import FieldPairs
from kryloset.learn.online import OnlineTraining
from kryloset.learn.operator import Operator, build_network, weights
from kryloset.learn.optimisation import Optimisation, mean_error
from kryloset.learn.processes import make_fabric
from kryloset.learn.scaling import Scaling

SMALL = {"epochs": 1, "batch_size": 4, "settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}}


@pytest.fixture(scope="module")
def pairs(data):
    """The splits."""
    return [FieldPairs(data.path, split) for split in ("train", "valid")]


@pytest.fixture
def begin(pairs, tmp_path):
    """Return a function that begins or resumes a training on the train split."""

    def begin(*, code="", online=None, **settings) -> OnlineTraining:
        found = TrainingConfig.model_validate(SMALL | settings | {"online": online or {}})
        return OnlineTraining(
            pairs[0], len(pairs[0]), found, stream="", checkpoint=tmp_path / "checkpoint",
            code=code, fabric=make_fabric(found),
        )  # fmt: skip

    return begin


def items(pairs, numbers):
    return [{k: v.clone() for k, v in pairs[number].items()} for number in numbers]


def learn(training, pairs, parts=4, until=None):
    """Learn from the rest of the parts of the stream."""
    train, valid = pairs
    size, few = len(train) // parts, len(valid) // parts
    for part in range(training.record.chunks, parts if until is None else until):
        training.learn(
            items(train, range(part * size, (part + 1) * size)),
            items(valid, range(part * few, (part + 1) * few)),
            waited=0.0,
            last=part == parts - 1,
        )
    return weights(training.optimisation.measured)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_queue_is_a_pass_over_the_pairs_in_their_order(begin, pairs):
    training = begin(online={"buffer": "fifo", "threshold": 1})
    found = learn(training, pairs)
    train, settings = pairs[0], training.settings
    torch.manual_seed(0)
    network = build_network(training.about, type(training.optimisation.operator.network))
    operator = Operator(Scaling.fit(train), network)
    fabric = make_fabric(settings)
    plain = Optimisation(operator, settings, steps=len(train) // 4, warmup=0, fabric=fabric)
    operator.train()
    for begin_ in range(0, len(train), 4):
        plain.step(train.join(items(train, range(begin_, begin_ + 4))), "the test")
    assert same(found, weights(operator))


@pytest.mark.parametrize(
    ("buffer", "settings"),
    [
        ("fifo", {}),
        ("firo", {"average": 0.9}),
        ("reservoir", {"epochs": 3}),
        ("reservoir", {"epochs": 5, "online": {"capacity": 6, "threshold": 5}}),
    ],
)
def test_a_killed_training_resumes_to_the_same_weights(begin, pairs, buffer, settings):
    settings = settings | {"online": settings.get("online", {}) | {"buffer": buffer}}
    whole = begin(**settings)
    expected = learn(whole, pairs)
    whole.checkpoint.unlink()
    learn(begin(**settings), pairs, until=2)
    resumed = begin(**settings)
    assert resumed.record.chunks == 2
    assert same(learn(resumed, pairs), expected)
    for key in ("train", "valid", "pairs", "steps"):
        assert getattr(resumed.record, key) == getattr(whole.record, key)
    assert begin(code="edited", **settings).record.chunks == 0


def test_a_killed_training_resumes_beside_other_processes_that_solve(begin, pairs):
    learn(begin(online={"solvers": 1}), pairs, until=2)
    assert begin(online={"solvers": 3}, device="cpu").record.chunks == 2
    assert begin(online={"threshold": 2}).record.chunks == 0


@pytest.mark.parametrize("epochs", [1, 3])
def test_as_many_steps_are_made_as_in_the_epochs_of_a_whole_split(begin, pairs, epochs):
    training = begin(epochs=epochs, online={"threshold": 1})
    learn(training, pairs)
    record, batches = training.record, -(-len(pairs[0]) // 4)
    assert record.steps[-1] == epochs * batches
    assert record.pairs == [len(pairs[0]) * part // 4 for part in (1, 2, 3, 4)]
    # In proportion to what has come.
    for steps, seen in zip(record.steps, record.pairs, strict=True):
        assert steps == epochs * batches * seen // len(pairs[0])


def test_errors_are_those_on_what_has_come_of_the_validation_split(begin, pairs):
    training = begin()
    learn(training, pairs)
    valid = pairs[1]
    whole = valid.join(items(valid, range(len(valid))))
    found = mean_error(training.optimisation.measured, [whole])
    assert training.record.valid[-1] == pytest.approx(found, rel=1e-6)
    alone = begin(code="other")
    alone.learn(items(pairs[0], range(8)), [], waited=0.0, last=False)
    assert alone.record.valid == [None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 2, "online": {"buffer": "fifo"}}, "set epochs to 1"),
        ({"online": {"capacity": 4, "threshold": 5}}, "more than the 4 pairs"),
        ({"patience": 3, "online": {}}, "patience: a training with `online` cannot do that"),
        ({"where": "mesh", "online": {}}, "where: a training with `online` cannot"),
    ],
)
def test_what_no_stream_can_do_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainingConfig.model_validate(settings)
