# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Train a neural operator on chunks as they are solved.

It may be killed at any moment. The state of the training is saved after each chunk, and what is
being solved is in journals.
"""

import json
import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, TrainingConfig
from kryloset.dataset.atomic import require_writable, write_text_whole
from kryloset.dataset.splits import split_indices
from kryloset.dataset.staged import StagedFile
from kryloset.dependence import keys_of
from kryloset.errors import ConfigError
from kryloset.learn.buffers import Item
from kryloset.learn.data import FieldPairs
from kryloset.learn.models.own import network_blamed
from kryloset.learn.models.registry import check_training, model_files, model_modules
from kryloset.learn.online import FIRST, OnlineTraining
from kryloset.learn.operator import save_model, weights
from kryloset.learn.pairs import find_march, open_pairs
from kryloset.learn.processes import make_fabric
from kryloset.learn.seen import TRAINING, note_stream
from kryloset.problems import Family, load_family
from kryloset.provenance import stage_identity, versions_of_learning
from kryloset.run import files
from kryloset.run.inputs import open_order
from kryloset.run.solving import Solving
from kryloset.run.stream import write_part

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig,
    name: str,
    *,
    source: Path,
    order: Path,
    chunks: Path,
    model: Path,
    history: Path,
    network: str | None = None,
    seed: int | None = None,
) -> None:
    """Solve the chunks of a dataset, and train on the instances of its split `train` meanwhile.

    Chunks are solved and learnt from in a random order, which depends on the seed of the dataset.
    How many steps are made after each follows from the configuration, so that the weights do not
    depend on how fast they are solved. Test splits are never learnt from.

    Args:
        config: The dataset; its `training` is used, which has `online`.
        name: Its name.
        source: The YAML file that it was read from, for the processes that solve.
        order: `order.h5`.
        chunks: Folder of the chunks' files. Solved ones that are there are not solved again. Unless
            `store` is set, each is removed once it is learnt from.
        model: File to write: weights, scaling, settings and what was learnt from.
        history: JSON file to write: `OnlineRecord`, each quantity as a list with an entry for
            each chunk.
        network: Which of the configured models is trained; None if there is only one.
        seed: Which of the configured seeds it is trained with; None if there is only one.

    Raises:
        ConfigError: There is no such model, seed or setting, or a choice has to be made; or the
            training is not online, or has too few chunks.
        KrylosetError: torch is not installed, a chunk was not solved, or the training diverged.
        DataError: The order is missing, damaged or of another configuration; a file cannot be
            written.
    """
    settings = config.training.only(network, seed)
    family = load_family(config)
    check_training(settings, family)
    online = settings.online
    if online is None:
        raise ConfigError("training.online is null: `kryloset train` learns from a dataset")
    require_writable(model, history)
    working = model.with_name(f"{model.name}.working")
    with open_order(order, config) as sorted_:
        stream = _Stream.of(config, family, sorted_)
        seen = note_stream(config, stream.identity, sorted_.array(files.DRAWN), stream.splits)
    threads = torch.get_num_threads()
    processes = online.solvers or max(1, threads - 1)
    torch.set_num_threads(max(1, threads - processes))
    logger.info("%d processes solve beside %d threads", processes, torch.get_num_threads())
    working.mkdir(parents=True, exist_ok=True)
    first = working / f"first-{stream.identity[:16]}.h5"
    began = time.perf_counter()
    (network,) = settings.models
    with network_blamed(network), Solving(source, name, order, chunks, processes) as solving:
        if not first.exists():
            solving.start(stream.names)
            solved = [solving.wait(chunk) for chunk in stream.groups[0]]
            write_part(first, solved, stream.splits["train"], config, family)
        pairs = _open(first, settings)
        each = len(pairs) // len(pairs.instances)
        training = OnlineTraining(
            pairs,
            each * len(stream.splits["train"]),
            settings,
            stream=stream.identity,
            checkpoint=working / "checkpoint",
            code=_identify(settings, family),
            fabric=make_fabric(settings),
        )
        if not online.store:  # A killed one may have learnt from a chunk and left it.
            for chunk in chain(*stream.groups[: training.record.chunks]):
                (chunks / f"{chunk}.h5").unlink(missing_ok=True)
        rest = stream.groups[training.record.chunks :]
        solving.start([chunk for group in rest for chunk in group])
        for number, group in enumerate(rest, start=training.record.chunks + 1):
            solved = [solving.wait(chunk) for chunk in group]
            waited = time.perf_counter() - began
            train, valid = (
                _read(working / "part.h5", solved, stream.splits.get(split), config, family)
                for split in TRAINING
            )
            training.learn(train, valid, waited=waited, last=number == len(stream.groups))
            logger.info(
                "%d of %d parts learnt from, %d steps, waited %.1f s for the last one",
                number, len(stream.groups), training.steps, waited,
            )  # fmt: skip
            if not online.store:
                for path in solved:
                    path.unlink()
            began = time.perf_counter()
    _finish(training, seen, model, history)
    shutil.rmtree(working)
    if not online.store:
        with suppress(OSError):  # It may have been there before, with other files.
            chunks.rmdir()


@dataclass(frozen=True)
class _Stream:
    """In which order chunks are learnt from.

    Attributes:
        groups: Names of chunks that are learnt from at once: those of the first group determine
            the scaling, and each of the others is alone.
        splits: Numbers of the instances of the splits that a training sees.
        identity: A digest of all that the pairs of the stream depend on.
    """

    groups: list[list[str]]
    splits: dict[str, NDArray[np.int64]]
    identity: str

    @property
    def names(self) -> list[str]:
        """The names of all chunks in their order."""
        return [name for group in self.groups for name in group]

    @classmethod
    def of(cls, config: DatasetConfig, family: Family, order: StagedFile) -> "_Stream":
        """Return the stream of a dataset."""
        permutation, bounds = order.array(files.PERMUTATION), order.array(files.BOUNDS)
        parts = np.split(permutation, bounds[1:-1])
        # Those of shifted instances are never learnt from.
        own = [number for number, part in enumerate(parts) if part[0] < config.count]
        if len(own) < 2:
            raise ConfigError(
                "training.online: all instances are in one chunk, so nothing could be learnt "
                "before all are solved: set `chunks`"
            )
        there = {
            split: np.intersect1d(numbers, permutation)
            for split, numbers in split_indices(config).items()
            if split in TRAINING
        }
        generator = torch.Generator().manual_seed(config.seed % 2**63)
        drawn = [own[place] for place in torch.randperm(len(own), generator=generator).tolist()]
        learnt = np.cumsum([np.isin(parts[chunk], there["train"]).sum() for chunk in drawn])
        begin = 1 + int(np.searchsorted(learnt, max(1, FIRST * learnt[-1])))
        named = [f"{chunk + 1}-of-{len(parts)}" for chunk in drawn]
        told = [
            config.model_dump_json(include=set(keys_of("solve"))),
            stage_identity("solve", family),
            order.seal(files.DRAWN),
            order.seal(files.PERMUTATION),
            *named,
            *(split + sha256(numbers.tobytes()).hexdigest() for split, numbers in there.items()),
        ]
        identity = sha256(" ".join(told).encode()).hexdigest()
        return cls([named[:begin], *([name] for name in named[begin:])], there, identity)


def _identify(settings: TrainingConfig, family: Family) -> str:
    """Return the identity of the code of a training."""
    (name,) = settings.models
    own = b"".join(path.read_bytes() for path in model_files(name).values())
    return stage_identity("train_online", family, *model_modules(name)) + sha256(own).hexdigest()


def _open(path: Path, settings: TrainingConfig) -> FieldPairs:
    march = find_march(path, settings)
    pairs = open_pairs(
        path, "train", "grid", grids=settings.grids, march=march, steps=settings.steps
    )
    assert isinstance(pairs, FieldPairs)
    return pairs


def _read(
    part: Path,
    chunks: Sequence[Path],
    chosen: NDArray[np.int64] | None,
    config: DatasetConfig,
    family: Family,
) -> list[Item]:
    """Return the pairs of chosen instances of some chunks."""
    if chosen is None or not write_part(part, chunks, chosen, config, family):
        return []
    pairs = _open(part, config.training)
    # Copied: a pair would keep all others in memory.
    items = [
        {key: values.clone() for key, values in item.items()}
        for item in pairs.__getitems__(range(len(pairs)))
    ]
    part.unlink()
    return items


def _finish(training: OnlineTraining, seen: dict[str, Any], model: Path, history: Path) -> None:
    """Write the model and the history."""
    record = training.record
    write_text_whole(history, json.dumps(vars(record)) + "\n")
    about = training.about | {
        "best_epoch": record.chunks,
        "seconds": sum(record.seconds),
        "seen": seen,
        "versions": versions_of_learning(),
    }
    save_model(model, about, weights(training.optimisation.measured))
    (error,) = record.valid[-1:]
    told = "no `valid`" if error is None else f"relative L2 error {error:.4f} on `valid`"
    logger.info(
        "%s: %s, %d steps in %.0f s, and %.0f s of waiting for solutions",
        model, told, training.steps, sum(record.seconds), sum(record.waited),
    )  # fmt: skip
