# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Train a neural operator. A killed training resumes after its last finished epoch.

This loop replaces the `Trainer` of `neuraloperator`, which changes the learning rate only between
epochs, forgets the best validation error when it resumes, and prints.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from neuralop.losses import LpLoss
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from kryloset.config import TrainingConfig
from kryloset.dataset.atomic import write_whole
from kryloset.errors import KrylosetError
from kryloset.learn.data import FieldPairs, Scaling
from kryloset.learn.metrics import BATCH, relative_l2
from kryloset.learn.models.registry import model_class
from kryloset.learn.norms import square_h1
from kryloset.learn.operator import Operator, build_network, describe, weights
from kryloset.progress import track

type Array = NDArray[np.float64]

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
        """The epoch whose weights are kept, starting from 1."""
        return int(np.argmin(self.valid)) + 1


class Training:
    """A network with its optimiser, its schedule and its history.

    The optimiser is AdamW (Loshchilov and Hutter, ICLR 2019) with the one-cycle schedule (Smith
    and Topin, 2019): after a warm-up, the learning rate decreases at every step, almost to zero.
    The loss is the mean relative error of the instances, in the norm given by the settings.

    Args:
        train: The pairs to learn from.
        valid: The pairs that select the best epoch.
        settings: Network, optimiser, seed: the configuration of this training alone.
        checkpoint: File to which the state is saved after each epoch. If it has a state of the same
            training, that training is resumed; any other state is overwritten.
        code: Identity of the code. A training with other code is another training.

    Raises:
        DataError: A parameter with a logarithmic transform is not positive.
    """

    def __init__(
        self,
        train: FieldPairs,
        valid: FieldPairs,
        settings: TrainingConfig,
        *,
        checkpoint: Path,
        code: str,
    ) -> None:
        """Draw the weights, or resume from the checkpoint."""
        self.valid = valid
        self.settings = settings
        self.checkpoint = checkpoint
        self.code = code
        (name,), (seed,) = settings.models, settings.seeds
        kind = model_class(name)
        self.about = describe(train, settings, kind)
        self.record = Record()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(seed)
        network = build_network(self.about, kind)
        self.operator = Operator(Scaling.fit(train), network).to(self.device)
        self.shuffle = torch.Generator().manual_seed(seed)
        self.loader = DataLoader(train, settings.batch_size, shuffle=True, generator=self.shuffle)
        self.loss = make_loss(settings.loss, train.closed_coordinates)
        self.rate = settings.learning_rate or kind.learning_rate
        self.optimiser = torch.optim.AdamW(
            self.operator.parameters(), lr=self.rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, self.rate, total_steps=settings.epochs * len(self.loader)
        )
        self._resume()

    def run(self) -> Record:
        """Train up to the last epoch.

        Raises:
            KrylosetError: The loss is not finite.
        """
        done, epochs = self.record.epochs, self.settings.epochs
        for epoch in track(range(done + 1, epochs + 1), "training", total=epochs, done=done):
            began = time.perf_counter()
            self.record.train.append(self._learn(epoch))
            self.record.valid.append(error(self.operator, self.valid))
            self.record.seconds.append(time.perf_counter() - began)
            if self.record.best_epoch == epoch:
                self.record.best = {k: v.clone() for k, v in weights(self.operator).items()}
            self._save()
        return self.record

    def _learn(self, epoch: int) -> float:
        """Run one epoch and return the mean relative L2 error on the training split."""
        self.operator.train()
        errors = []
        for batch in self.loader:
            prediction = self.operator(batch["x"].to(self.device))
            loss = self.loss(prediction, batch["y"].to(self.device))
            if not torch.isfinite(loss):
                raise KrylosetError(
                    f"training diverged in epoch {epoch}: lower training.learning_rate, which is "
                    f"{self.rate:g}"
                )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            found = prediction.detach().cpu().numpy()
            errors.append(relative_l2(found, batch["y"].numpy(), self.valid.closed_coordinates))
        return float(np.concatenate(errors).mean())

    def _save(self) -> None:
        state = {
            "code": self.code,
            "about": self.about,
            "record": vars(self.record),
            "weights": weights(self.operator),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "shuffle": self.shuffle.get_state(),
        }
        with write_whole(self.checkpoint) as part:
            torch.save(state, part)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if (state["code"], state["about"]) != (self.code, self.about):
            logger.info("%s belongs to another training; starting from scratch", self.checkpoint)
            return
        self.record = Record(**state["record"])
        self.operator.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.shuffle.set_state(state["shuffle"])
        logger.info("resuming after epoch %d of %d", self.record.epochs, self.settings.epochs)


def error(operator: Operator, pairs: FieldPairs) -> float:
    """Return the mean relative L2 error of an operator."""
    device = operator.scaling.input_mean.device
    operator.eval()
    errors = []
    with torch.no_grad():
        for batch in DataLoader(pairs, BATCH):
            prediction = operator(batch["x"].to(device)).cpu().numpy()
            errors.append(relative_l2(prediction, batch["y"].numpy(), pairs.closed_coordinates))
    return float(np.concatenate(errors).mean())


def make_loss(
    norm: Literal["l2", "h1"], coordinates: Sequence[Array]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the mean relative error of a batch, as a function of prediction and truth.

    Points where the truth is NaN lie outside the domain and are ignored.

    Args:
        norm: L2, a sum over all points with equal weights, or H1, as in `kryloset.learn.metrics`.
        coordinates: Coordinates of the grid, one array per axis.
    """
    sum_up = LpLoss(d=len(coordinates), p=2, reduction="mean")

    def l2(prediction: Tensor, truth: Tensor) -> Tensor:
        outside = truth.isnan()
        mean: Tensor = sum_up(torch.where(outside, 0, prediction), torch.where(outside, 0, truth))
        return mean

    def h1(prediction: Tensor, truth: Tensor) -> Tensor:
        outside, axes = truth.isnan(), [truth.new_tensor(points) for points in coordinates]
        error = square_h1(prediction - truth, outside, axes) / square_h1(truth, outside, axes)
        return error.sqrt().mean()

    return l2 if norm == "l2" else h1
