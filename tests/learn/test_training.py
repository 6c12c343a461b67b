# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Training is repeatable and resumable, and keeps the best weights."""

from zipfile import ZipFile

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.config import TrainingConfig
from kryloset.errors import DataError, KrylosetError
from kryloset.learn.baselines import fit_mean
from kryloset.learn.data import FieldPairs
from kryloset.learn.metrics import relative_l2
from kryloset.learn.operator import load_model, save_model, weights
from kryloset.learn.training import Record, Training


@pytest.fixture
def begin(data, tmp_path):
    """Return a function that begins or resumes a training."""

    def begin(*, code="", **settings) -> Training:
        settings = TrainingConfig(**data.config.training.model_dump() | settings)
        pairs = [FieldPairs(data.path, split) for split in ("train", "valid")]
        return Training(*pairs, settings, checkpoint=tmp_path / "checkpoint", code=code)

    return begin


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def parameters(operator):
    """Return a copy of all real weights, one after another."""
    return torch.cat([w.detach().flatten() for w in operator.parameters() if not w.is_complex()])


class Killed(BaseException):
    """Stands for an interruption from outside."""


def kill_in(training, epoch, step):
    """Let a training end before a step of an epoch, both counted from 1."""
    loader = training.loader
    lives = iter(range((epoch - 1) * len(loader) + step - 1))

    class Deadly:
        def __iter__(self):
            for batch in loader:
                if next(lives, None) is None:
                    raise Killed
                yield batch

    training.loader = Deadly()


def test_training_beats_the_mean_predictor(begin):
    training = begin(epochs=40, learning_rate=2e-2)
    record = training.run()
    pairs = training.loader.dataset
    mean = fit_mean(*pairs.stack(range(len(pairs))))
    x, y = training.valid.stack(range(len(training.valid)))
    assert min(record.valid) < 0.5 * relative_l2(mean(x), y, pairs.coordinates).mean()
    assert record.train[-1] < 0.5 * record.train[0]


@pytest.mark.parametrize("loss", ["l2", "h1"])
def test_same_seed_gives_the_same_weights(begin, loss):
    first, second, other = begin(loss=loss), begin(loss=loss), begin(loss=loss, seeds=[1])
    drawn = weights(other.optimisation.operator)
    assert not same(weights(first.optimisation.operator), drawn)
    first.run()
    first.checkpoint.unlink()
    second.run()
    assert first.record.valid == second.record.valid
    assert same(weights(first.optimisation.operator), weights(second.optimisation.operator))


SMALLEST = {"fno": {"modes": 2, "width": 2, "layers": 1}}
#: Settings whose state differs from that of the defaults.
STATES = [
    {},
    {"optimiser": "lion"},
    {"optimiser": "soap"},
    {"optimiser": "adahessian"},
    {"optimiser": "lbfgs", "batch_size": 100, "settings": SMALLEST},
    {"average": 0.9, "clip": 0.1, "schedule": "linear", "warmup": 1},
    {"schedule": "cosine", "precision": "bfloat16"},
    {"workers": 1},
]


@pytest.mark.parametrize(
    ("epoch", "step", "settings"),
    [(1, 2, {}), (4, 3, {}), *((3, 1, settings) for settings in STATES)],
)
def test_a_killed_training_resumes_to_the_same_weights(begin, epoch, step, settings):
    whole = begin(**settings)
    whole.run()
    whole.checkpoint.unlink()
    killed = begin(**settings)
    kill_in(killed, epoch, step)
    with pytest.raises(Killed):
        killed.run()
    resumed = begin(**settings)
    assert resumed.record.epochs == epoch - 1
    resumed.run()
    assert resumed.record.train == whole.record.train
    assert resumed.record.valid == whole.record.valid
    assert same(resumed.record.best, whole.record.best)
    assert same(weights(resumed.optimisation.operator), weights(whole.optimisation.operator))


def test_more_epochs_of_a_finished_training_are_those_of_one_that_had_them_at_once(begin):
    settings = {"schedule": "constant", "warmup": 1, "average": 0.9, "settings": SMALLEST}
    whole = begin(epochs=5, **settings)
    whole.run()
    whole.checkpoint.unlink()
    begin(epochs=2, **settings).run()
    longer = begin(epochs=5, **settings)
    assert longer.record.epochs == 2
    assert longer.run().valid == whole.record.valid
    assert same(longer.record.best, whole.record.best)
    # A training that has gone further is none of fewer epochs.
    assert begin(epochs=4, **settings).record.epochs == 0


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "linear"])
def test_other_schedules_end_with_the_last_epoch_so_more_epochs_begin_again(
    begin, schedule, caplog
):
    settings = {"schedule": schedule, "settings": SMALLEST}
    begin(epochs=1, **settings).run()
    caplog.set_level("INFO")
    assert begin(epochs=2, **settings).record.epochs == 0
    assert f"as the schedule is {schedule}, epochs; starting from scratch" in caplog.text


def test_patience_ends_a_training_that_has_become_no_better(begin):
    settings = {"epochs": 30, "learning_rate": 0.5, "schedule": "constant", "settings": SMALLEST}
    record = begin(patience=2, **settings).run()
    assert record.epochs == record.best_epoch + 2 < 30
    assert begin(patience=2, **settings).run().epochs == record.epochs


def test_a_clipped_step_is_that_of_a_gradient_of_this_norm(begin):
    # L-BFGS apart, no optimiser sees the scale of all gradients but by AdamW's epsilon of 1e-8.
    settings = {"epochs": 1, "batch_size": 100, "settings": SMALLEST, "schedule": "constant"}
    moved = []
    for clip in (None, 1e-12):
        training = begin(clip=clip, weight_decay=0.0, **settings)
        before = parameters(training.optimisation.operator)
        training.run()
        training.checkpoint.unlink()
        moved.append(float((parameters(training.optimisation.operator) - before).abs().max()))
    free, clipped = moved
    assert free == pytest.approx(training.optimisation.rate, rel=1e-3)
    assert 0 < clipped <= 1e-3 * free


def test_the_average_is_what_is_measured_and_kept(begin):
    training = begin(average=0.5, settings=SMALLEST)
    record = training.run()
    assert not same(
        weights(training.optimisation.measured), weights(training.optimisation.operator)
    )
    training.optimisation.operator.load_state_dict(record.best)
    assert training.error(training.optimisation.operator) == min(record.valid)


def test_workers_change_nothing(begin):
    alone = begin(epochs=3, settings=SMALLEST)
    alone.run()
    alone.checkpoint.unlink()
    helped = begin(epochs=3, settings=SMALLEST, workers=2)
    helped.run()
    assert same(weights(alone.optimisation.operator), weights(helped.optimisation.operator))


def test_a_checkpoint_of_another_training_is_ignored(begin):
    begin().run()
    assert begin().record.epochs == 4
    assert begin(settings={"fno": {"width": 8}}).record.epochs == 0
    assert begin(seeds=[1]).record.epochs == 0
    assert begin(code="edited").record.epochs == 0


def test_a_training_goes_on_with_other_workers_and_another_device(begin):
    begin(epochs=2, schedule="constant", settings=SMALLEST, device="cpu").run()
    assert begin(epochs=4, schedule="constant", settings=SMALLEST, workers=1).record.epochs == 2


def test_the_best_weights_on_the_valid_split_are_kept(begin):
    # The step is so large that the error rises and falls from epoch to epoch.
    training = begin(epochs=8, learning_rate=0.1)
    record = training.run()
    assert len(record.train) == len(record.valid) == len(record.seconds) == 8
    training.optimisation.operator.load_state_dict(record.best)
    assert training.error(training.optimisation.operator) == min(record.valid)
    assert record.valid[record.best_epoch - 1] == min(record.valid)


def test_an_epoch_without_a_number_is_not_the_best_one():
    assert Record(valid=[np.nan, 0.5, np.inf, np.nan]).best_epoch == 2


def test_divergence_is_an_error_that_names_the_key(begin):
    training = begin()
    with torch.no_grad():
        next(training.optimisation.operator.parameters()).fill_(torch.nan)
    with pytest.raises(KrylosetError, match=r"diverged in epoch 1: lower training\.learning_rate"):
        training.run()
    assert not training.checkpoint.exists()


def test_smallest_training_runs(begin):
    smallest = {"fno": {"modes": 1, "layers": 1, "width": 2}}
    record = begin(epochs=1, batch_size=1000, settings=smallest).run()
    assert np.isfinite(record.valid).all()


def test_model_is_rebuilt_from_its_file_alone(begin, tmp_path):
    training = begin()
    training.run()
    save_model(tmp_path / "model.pt", training.about, weights(training.optimisation.operator))
    loaded = load_model(tmp_path / "model.pt")
    x = training.valid[0]["x"][None]
    assert not loaded.training
    assert torch.equal(loaded(x), training.optimisation.operator(x))
    assert loaded.about == training.about
    assert loaded.about["dataset"] == training.valid.digest
    # The operator accepts functions on a finer grid.
    assert loaded(torch.ones(2, 3, 20, 24)).shape == (2, 1, 20, 24)


def test_l2_loss_is_the_mean_relative_error(begin):
    training = begin()
    _, u = training.valid.stack(range(6))
    prediction, truth = u[:3], u[3:]
    expected = relative_l2(prediction, truth, training.valid.coordinates).mean()
    rest = {"row": torch.tensor(0), "state": torch.zeros(1)}
    batch = training.valid.join([{"x": y, "y": y, **rest} for y in torch.from_numpy(truth)])
    found = training.optimisation.loss(torch.from_numpy(prediction), batch)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def flip_a_bit(path):
    """Return the content of a file of torch with another bit in its largest array."""
    with ZipFile(path) as archive:
        array = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    content = bytearray(path.read_bytes())
    content[content.index(array) + len(array) // 2] ^= 1
    return bytes(content)


def test_a_damaged_checkpoint_is_begun_again(begin, caplog):
    caplog.set_level("INFO")
    settings = {"schedule": "constant", "epochs": 1}
    training = begin(**settings)
    training.run()
    whole, flipped = training.checkpoint.read_bytes(), flip_a_bit(training.checkpoint)
    operator = training.optimisation.operator
    save_model(training.checkpoint, training.about, weights(operator))
    for content, told in (
        (b"", "is damaged"),
        (whole[:-1000], "is damaged"),
        (flipped, "is damaged"),
        (training.checkpoint.read_bytes(), "belongs to another training"),
    ):
        training.checkpoint.write_bytes(content)
        caplog.clear()
        assert begin(**settings).record.epochs == 0
        assert told in caplog.text and "starting from scratch" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"no model", b"PK\x03\x04broken"])
def test_a_file_without_a_model_is_named(tmp_path, content):
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.pt"):
        load_model(path)


def test_damaged_model_is_named(begin, tmp_path):
    path = tmp_path / "model.pt"
    training = begin()
    save_model(path, training.about, weights(training.optimisation.operator))
    for damaged in (path.read_bytes()[:-1000], flip_a_bit(path)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"model\.pt is damaged or not a model of Kryloset"):
            load_model(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(DataError, match=r"model\.pt is damaged or not a model of Kryloset"):
        load_model(path)
