# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learn from pairs as they come, a chunk at a time.

How many steps are made after how many pairs follows from the configuration alone, and no clock
decides: the same pairs in the same order give the same weights bit for bit.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from kryloset.config import TrainingConfig
from kryloset.dataset.atomic import write_whole
from kryloset.learn.buffers import Buffer, Item, make_buffer
from kryloset.learn.data import FieldPairs
from kryloset.learn.measuring import finite
from kryloset.learn.metrics import BATCH, mean
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import begin_operator, describe, describe_training
from kryloset.learn.optimisation import Optimisation, mean_error
from kryloset.learn.pairs import Batch
from kryloset.learn.saved import load_checkpoint

type Array = NDArray[np.float64]

logger = logging.getLogger(__name__)

#: Share of the train split before the first step, and from which the scaling is computed.
FIRST = 0.05


@dataclass
class OnlineRecord:
    """The history of an online training, with an entry for each chunk.

    Attributes:
        train: Mean relative L2 error of the batches; None if there was none.
        valid: Mean relative L2 error on the pairs of the validation split so far; None if there
            are none.
        seconds: Seconds spent learning.
        waited: Seconds spent waiting for the chunk.
        pairs: Pairs learnt from so far.
        steps: Steps so far.
    """

    train: list[float | None] = field(default_factory=list)
    valid: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    @property
    def chunks(self) -> int:
        """Number of chunks that were learnt from."""
        return len(self.valid)


class OnlineTraining:
    """An optimisation fed by a stream of pairs.

    It makes as many steps as `epochs` passes over the train split would, in proportion to the pairs
    that have come.

    Args:
        first: The first pairs of the stream, from which the scaling is computed.
        expected: Pairs of the whole stream.
        settings: The configuration of this training alone.
        stream: Identity of the stream, such as a digest of its instances and their order.
        checkpoint: File to which the state is saved after each chunk. If it has a state of the same
            training, that training is resumed; any other state is overwritten.
        code: Identity of the code.
        fabric: What it runs on.

    Attributes:
        about: Metadata of the model.
        optimisation: The operator, and what changes its weights.
        record: What was done so far.

    Raises:
        DataError: A parameter with a logarithmic transform is not positive.
        ConfigError: A network of somebody's own returns something else.
    """

    def __init__(
        self,
        first: FieldPairs,
        expected: int,
        settings: TrainingConfig,
        *,
        stream: str,
        checkpoint: Path,
        code: str,
        fabric: Fabric,
    ) -> None:
        """Draw the weights, or resume from the checkpoint."""
        online = settings.online
        assert online is not None
        (name,), (seed,) = settings.models, settings.seeds
        kind = model_class(name)
        self.settings = settings
        self.checkpoint = checkpoint
        self.code = code
        self.fabric = fabric
        self.expected = expected
        self.about = describe(first, settings, kind) | {"dataset": stream}
        self.record = OnlineRecord()
        per_epoch = -(-expected // settings.batch_size)
        self.steps_in_all = settings.epochs * per_epoch
        torch.manual_seed(seed)
        operator = begin_operator(self.about, kind, [first], fabric.device)
        self.optimisation = Optimisation(
            operator,
            settings,
            steps=self.steps_in_all,
            warmup=settings.warmup * per_epoch,
            fabric=fabric,
        )
        self.buffer: Buffer = make_buffer(
            online.buffer,
            capacity=online.capacity,
            threshold=threshold_of(settings, expected),
            generator=torch.Generator().manual_seed(seed),
        )
        self.steps = self.pairs = 0
        self._join = first.join
        self._valid: list[Item] = []
        self._resume()

    def learn(
        self, train: Sequence[Item], valid: Sequence[Item], *, waited: float, last: bool
    ) -> None:
        """Learn from the pairs of a chunk, and save the state.

        Args:
            train: Pairs to learn from.
            valid: Pairs to measure the error on, together with those of the chunks before.
            waited: Seconds that it took until the chunk was there.
            last: Whether no other chunk follows.

        Raises:
            KrylosetError: The loss is not finite.
        """
        began = time.perf_counter()
        self.optimisation.operator.train()
        errors: list[Array] = []
        for item in train:
            while not self.buffer.put(item) and self.steps < self.steps_in_all:
                errors.append(self._step())
            self.pairs += 1
            errors += self._steps(self.steps_in_all * self.pairs // self.expected)
        if last:
            self.buffer.over = True
            errors += self._steps(self.steps_in_all)
        self._valid.extend(valid)
        record = self.record
        record.train.append(finite(float(mean(np.concatenate(errors)))) if errors else None)
        record.valid.append(self._error())
        record.seconds.append(time.perf_counter() - began)
        record.waited.append(waited)
        record.pairs.append(self.pairs)
        record.steps.append(self.steps)
        self._save()

    def _steps(self, due: int) -> Iterator[Array]:
        """Make steps until so many are made, or the buffer has no batch; yield the errors."""
        while self.steps < due and self.buffer.is_ready(self.settings.batch_size):
            yield self._step()

    def _step(self) -> Array:
        """Change the weights once, and return the errors of a batch before."""
        batch = self._join(self.buffer.take(self.settings.batch_size))
        when = f"chunk {self.record.chunks + 1}"
        found = self.optimisation.step(batch.to(self.fabric.device), when)
        self.steps += 1
        return batch.relative_l2(found.cpu())

    def _error(self) -> float | None:
        """Return the mean error on the pairs of the validation split so far."""
        if not self._valid:
            return None
        return finite(mean_error(self.optimisation.measured, self._batches()))

    def _batches(self) -> Iterator[Batch]:
        for items in batched(self._valid, BATCH):
            yield self._join(items)

    def _save(self) -> None:
        state = {
            "identity": self._identity(),
            "record": vars(self.record),
            "buffer": self.buffer.state(),
            "valid": [dict(item) for item in self._valid],
            "steps": self.steps,
            "pairs": self.pairs,
            **self.optimisation.state(),
        }
        with write_whole(self.checkpoint) as part:
            torch.save(state, part)

    def _identity(self) -> dict[str, Any]:
        """Return what the same trainings have in common, on whatever machine."""
        training = describe_training(self.settings.anywhere)
        return self.about | {"training": training, "code": self.code}

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint)
        if state is None:
            return
        if state.get("identity") != self._identity():
            logger.info(
                "%s belongs to another training, of other code, data or settings; starting from "
                "scratch",
                self.checkpoint,
            )
            return
        self.record = OnlineRecord(**state["record"])
        self.buffer.restore(state["buffer"])
        self.steps, self.pairs = state["steps"], state["pairs"]
        self._valid = state["valid"]
        self.optimisation.restore(state)
        logger.info("resuming after chunk %d", self.record.chunks)


def threshold_of(settings: TrainingConfig, expected: int) -> int:
    """Return how many pairs the buffer must hold before the first step.

    Args:
        settings: The configuration of the training.
        expected: Pairs of the whole stream.
    """
    online = settings.online
    assert online is not None
    usual = max(1, min(int(FIRST * expected), online.capacity))
    return min(online.threshold or usual, expected)
