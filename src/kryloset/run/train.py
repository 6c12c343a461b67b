# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Train a neural operator on a dataset."""

import json
import logging
from hashlib import sha256
from pathlib import Path

from lightning_fabric import Fabric

from kryloset.config import DatasetConfig, TrainingConfig, label_of
from kryloset.dataset.atomic import require_writable, write_text_whole
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.learn.equations import OpenEquations
from kryloset.learn.measuring import finite
from kryloset.learn.models.registry import (
    check_training,
    model_class,
    model_files,
    model_modules,
    residual_modules,
)
from kryloset.learn.operator import save_model
from kryloset.learn.pairs import find_march, find_place, open_pairs
from kryloset.learn.processes import launch
from kryloset.learn.seen import TRAINING, note_seen
from kryloset.learn.starting import Start
from kryloset.learn.training import Training
from kryloset.problems import load_family
from kryloset.provenance import stage_identity, versions_of_learning

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig,
    *,
    data: Path,
    model: Path,
    history: Path,
    network: str | None = None,
    seed: int | None = None,
    equations: OpenEquations | None = None,
) -> None:
    """Train on the split `train` and keep the weights that are best on `valid`.

    A training that was killed continues after the last epoch that it finished. Until the
    training ends, its state is in a file beside the model. If the learning rate is constant, the
    file stays, so that the training can go on for more epochs.

    Args:
        config: The dataset; its `training` is used.
        data: The dataset's file.
        model: File to write: weights, scaling, settings and the dataset's digest.
        history: JSON file to write: relative L2 errors `train` and `valid`, and
            `seconds`, each a list with one number for each epoch; an error is null where it
            is not finite.
        network: Which of the configured models is trained; None if there is only one.
        seed: Which of the configured seeds it is trained with; None if there is only one.
        equations: What opens the equations of the dataset, if residuals are learned: a function
            that can be pickled, as `open_equations`.

    Raises:
        ConfigError: There is no such model, seed or setting, or a choice has to be made.
        KrylosetError: torch is not installed, or the training diverged.
        DataError: The dataset cannot be read, is of another family or has no split `valid`; the
            model to begin with does not fit; or a file cannot be written.
    """
    settings, family = config.training.only(network, seed), load_family(config)
    check_training(settings, family)
    if settings.residual and equations is None:
        raise ConfigError("training.residual needs what opens the equations")
    require_writable(model, history)
    with Dataset(data) as dataset:
        made = dataset.config.family
    if label_of(made) != label_of(config.family):
        raise DataError(
            f"{data} has instances of the family {made}, and the configuration is one of "
            f"{config.family}: name the configuration and the dataset that it made"
        )
    (name,) = settings.models
    own = b"".join(path.read_bytes() for path in model_files(name).values())
    modules = *model_modules(name), *residual_modules(settings)
    code = stage_identity("train", family, *modules) + sha256(own).hexdigest()
    opener = equations if settings.residual else None
    launch(settings, _train, settings, data, model, history, code, opener)


def _train(
    fabric: Fabric,
    settings: TrainingConfig,
    data: Path,
    model: Path,
    history: Path,
    code: str,
    equations: OpenEquations | None,
) -> None:
    """Train in one of the processes, of which the first one writes the files."""
    checkpoint = model.with_name(model.name + ".checkpoint")
    (name,) = settings.models
    place = find_place(data, model_class(name), settings)
    march = find_march(data, settings)
    learned, valid = (
        open_pairs(data, split, place, grids=settings.grids, march=march, steps=settings.steps)
        for split in TRAINING
    )
    start = None if settings.start is None else Start.read(Path(settings.start))
    training = Training(
        learned,
        valid,
        settings,
        checkpoint=checkpoint,
        code=code,
        fabric=fabric,
        equations=None if equations is None else equations(data, place),
        start=start,
    )
    if start is not None and not training.record.epochs:
        before = training.error(training.optimisation.operator)
        logger.info("%s: relative L2 error %.4f on `valid`", start.path, before)
    record = training.run()
    if not fabric.is_global_zero:
        return
    curves = {
        "train": [*map(finite, record.train)],
        "valid": [*map(finite, record.valid)],
        "seconds": record.seconds,
    }
    write_text_whole(history, json.dumps(curves, allow_nan=False) + "\n")
    seconds = sum(record.seconds)
    about = training.about | {
        "best_epoch": record.best_epoch,
        "seconds": seconds,
        "seen": note_seen([learned, valid], None if start is None else start.about["seen"]),
        "versions": versions_of_learning(),
    }
    save_model(model, about, record.best)
    goes_on = settings.schedule == "constant"
    if not goes_on:
        checkpoint.unlink()
    logger.info(
        "%s: relative L2 error %.4f on `valid`, after epoch %d of %d, %.0f s; more epochs would %s",
        model,
        record.valid[record.best_epoch - 1],
        record.best_epoch,
        record.epochs,
        seconds,
        "go on from here" if goes_on else "begin again",
    )
