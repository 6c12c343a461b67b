# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Train a neural operator. A killed training resumes after its last finished epoch.

This loop replaces the `Trainer` of `neuraloperator`, which changes the learning rate only between
epochs, forgets the best validation error when it resumes, and prints. What it has of devices,
precision and processes is Lightning's Fabric.
"""

import logging
import time
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from kryloset.config import TrainingConfig
from kryloset.dataset.atomic import write_whole
from kryloset.learn.batches import Batches, spread
from kryloset.learn.equations import Equations
from kryloset.learn.metrics import BATCH, mean
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import Operator, begin_operator, describe, describe_training, weights
from kryloset.learn.optimisation import Optimisation, mean_error
from kryloset.learn.pairs import Batch, Pairs, count_pairs, parts_of
from kryloset.learn.processes import make_fabric
from kryloset.learn.saved import load_checkpoint
from kryloset.learn.starting import Start
from kryloset.progress import track

logger = logging.getLogger(__name__)


@dataclass
class Record:
    """The history of a training.

    Attributes:
        train: Mean relative L2 error on the training split during each epoch.
        valid: Mean relative L2 error on the validation split after each epoch.
        seconds: Wall time of each epoch.
        best: Weights after the epoch with the smallest error on the validation split.
    """

    train: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.valid)

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept, starting from 1: none with an error of NaN."""
        return int(np.argmin(np.nan_to_num(self.valid, nan=np.inf))) + 1

    @property
    def epochs_since_best(self) -> int:
        """Number of completed epochs after the best one."""
        return self.epochs - self.best_epoch if self.epochs else 0


class Training:
    """An optimisation over epochs of one split, with its history.

    Args:
        train: The pairs to learn from.
        valid: The pairs that select the best epoch.
        settings: Network, optimiser, seed: the configuration of this training alone.
        checkpoint: File to which the state is saved after each epoch. If it has a state of the same
            training, that training is resumed; any other state is overwritten. If the learning rate
            is constant, a training of fewer epochs is the same one.
        code: Identity of the code. A training with other code is another training.
        fabric: What it runs on, if it is one of several processes.
        equations: Those of the instances, if the settings ask for residuals.
        start: The finished training that it begins with, if the settings name one.

    Attributes:
        optimisation: The operator, and what changes its weights.
        record: What was done so far.

    Raises:
        DataError: A parameter with a logarithmic transform is not positive, or the model to begin
            with does not fit.
        ConfigError: A network of somebody's own returns something else.
        KrylosetError: torch does not find the devices.
    """

    def __init__(
        self,
        train: Pairs,
        valid: Pairs,
        settings: TrainingConfig,
        *,
        checkpoint: Path,
        code: str,
        fabric: Fabric | None = None,
        equations: Equations | None = None,
        start: Start | None = None,
    ) -> None:
        """Draw the weights, or resume from the checkpoint."""
        self.valid = valid
        self.settings = settings
        self.checkpoint = checkpoint
        self.code = code
        self.fabric = fabric or make_fabric(settings)
        (name,), (seed,) = settings.models, settings.seeds
        kind = model_class(name)
        self.about = describe(train, settings, kind)
        self.record = Record()
        torch.manual_seed(seed)
        operator = begin_operator(self.about, kind, parts_of(train), self.fabric.device)
        if start is not None:
            start.begin(operator, self.about)
            self.about["started_with"] = start.digest
        self.shuffle = torch.Generator().manual_seed(seed)
        self.loader = self._load(train)
        self.optimisation = Optimisation(
            operator,
            settings,
            steps=settings.epochs * len(self.loader),
            warmup=settings.warmup * len(self.loader),
            fabric=self.fabric,
            equations=equations,
        )
        self._resume()

    def run(self) -> Record:
        """Train up to the last epoch, or to that after which `patience` ends.

        Raises:
            KrylosetError: The loss is not finite.
        """
        done, epochs = self.record.epochs, self.settings.epochs
        rest = range(done + 1, epochs + 1)
        shown = track(rest, "training", total=epochs, done=done)
        for epoch in shown if self.fabric.is_global_zero else rest:
            if self.record.epochs_since_best >= (self.settings.patience or epochs):
                logger.info(
                    "the error on `valid` has not fallen since epoch %d", self.record.best_epoch
                )
                break
            began = time.perf_counter()
            self.record.train.append(self._learn(epoch))
            # That of the first process, so that all of them end with the same epoch.
            measured = self.optimisation.measured
            self.record.valid.append(self.fabric.broadcast(self.error(measured)))
            self.record.seconds.append(time.perf_counter() - began)
            if self.record.best_epoch == epoch:
                self.record.best = {k: v.clone() for k, v in weights(measured).items()}
            if self.fabric.is_global_zero:
                self._save()
        return self.record

    def error(self, operator: Operator) -> float:
        """Return the mean relative L2 error of an operator on `valid`, over all steps and grids.

        As many pairs are measured as an epoch may draw, evenly spaced.
        """
        most = count_pairs(self.settings, self.valid)
        loaders = [
            DataLoader(part, BATCH, sampler=spread(len(part), most), collate_fn=part.join)
            for part in parts_of(self.valid)
        ]
        return mean_error(operator, chain.from_iterable(loaders))

    def _load(self, train: Pairs) -> "DataLoader[Batch]":
        """Return what reads the batches, or this process's share of them."""
        grids = parts_of(train)
        batches = Batches(
            len(grids[0]),
            self.settings.batch_size,
            self.shuffle,
            draws=count_pairs(self.settings, train),
            grids=len(grids),
            process=self.fabric.global_rank,
            processes=self.fabric.world_size,
        )
        return DataLoader(
            train,
            batch_sampler=batches,
            collate_fn=train.join,
            generator=torch.Generator(),  # of the workers, which draw nothing
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def _learn(self, epoch: int) -> float:
        """Run one epoch and return the mean relative L2 error on the training split."""
        self.optimisation.operator.train()
        errors = []
        for batch in self.loader:
            found = self.optimisation.step(batch.to(self.fabric.device), f"epoch {epoch}")
            errors.append(batch.relative_l2(found.cpu()))
        found = torch.as_tensor(mean(np.concatenate(errors)), device=self.fabric.device)
        return float(self.fabric.all_reduce(found))

    def _save(self) -> None:
        state = {
            "identity": self._identity(),
            "record": vars(self.record),
            "shuffle": self.shuffle.get_state(),
            **self.optimisation.state(),
        }
        with write_whole(self.checkpoint) as part:
            torch.save(state, part)

    def _identity(self) -> dict[str, Any]:
        """Return what trainings have in common of which one is the beginning of the other."""
        alike = self.settings.anywhere
        if alike.schedule == "constant":
            alike = alike.model_copy(update={"epochs": 0})
        return self.about | {"training": describe_training(alike), "code": self.code}

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint)
        if state is None:
            return
        same = state.get("identity") == self._identity()
        record = Record(**state["record"]) if same else Record()
        if not same or record.epochs > self.settings.epochs:
            logger.info(
                "%s belongs to another training, of other code, data, settings or, as the schedule "
                "is %s, epochs; starting from scratch",
                self.checkpoint,
                self.settings.schedule,
            )
            return
        self.record = record
        self.shuffle.set_state(state["shuffle"])
        self.optimisation.restore(state)
        logger.info("resuming after epoch %d of %d", self.record.epochs, self.settings.epochs)
