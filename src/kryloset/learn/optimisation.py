# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Change the weights of a neural operator step by step, whatever its batches come from."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from kryloset.config import TrainingConfig
from kryloset.errors import KrylosetError
from kryloset.learn.averaging import moving_average
from kryloset.learn.batch_statistics import share_statistics
from kryloset.learn.devices import random_states, restore_random
from kryloset.learn.equations import Equations
from kryloset.learn.metrics import mean
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import Operator, unroll, weights
from kryloset.learn.optimisers import default_rate, make_optimiser, twice_differentiable
from kryloset.learn.pairs import Batch
from kryloset.learn.processes import transform_in_single
from kryloset.learn.real_weights import RealWeights
from kryloset.learn.schedules import make_schedule


class Optimisation:
    """An operator with its optimiser and its schedule.

    The loss is the mean relative error of the instances of a batch, in the norm given by the
    settings, and as many times as they say the mean residual of the predictions.

    Args:
        operator: The operator, on the device of the fabric.
        settings: Optimiser, schedule and loss: the configuration of this training alone.
        steps: Number of steps of the schedule.
        warmup: Steps of its rise.
        fabric: What it runs on.
        equations: Those of the instances, if the settings ask for residuals.

    Attributes:
        operator: The operator.
        average: The moving average of the operator's weights, if there is one.
        rate: The largest learning rate.
    """

    def __init__(
        self,
        operator: Operator,
        settings: TrainingConfig,
        *,
        steps: int,
        warmup: int,
        fabric: Fabric,
        equations: Equations | None = None,
    ) -> None:
        """Begin before the first step."""
        self.operator = operator
        self.settings = settings
        self.fabric = fabric
        self.equations = equations
        self.average = moving_average(operator, settings.average) if settings.average else None
        (name,) = settings.models
        self.rate = settings.learning_rate or default_rate(
            settings.optimiser, model_class(name).learning_rate
        )
        if fabric.world_size > 1:
            share_statistics(operator)
        trained = RealWeights(unroll(operator, settings.steps))
        optimiser = make_optimiser(
            settings.optimiser, trained.weights, rate=self.rate, decay=settings.decay
        )
        self._schedule = make_schedule(settings.schedule, optimiser, steps=steps, warmup=warmup)
        if settings.precision != "float32":
            transform_in_single(operator)
        if settings.compile:
            trained.compile()
        self._network, self._optimiser = fabric.setup(trained, optimiser)

    @property
    def measured(self) -> Operator:
        """The operator with the weights that are measured on the validation split, and kept."""
        measured: Operator = self.average.module if self.average else self.operator
        return measured

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Return what is minimised, for the prediction of a batch."""
        loss = batch.loss(self.settings.loss, prediction)
        if self.equations is None:
            return loss
        return loss + self.settings.residual * self.equations.loss(batch, prediction)

    def step(self, batch: Batch, when: str) -> Tensor:
        """Change the weights once, and return the prediction with those before.

        Args:
            batch: The batch, on the device of the fabric.
            when: Tells people when that is, such as "epoch 3".

        Raises:
            KrylosetError: The loss is not finite.
        """
        predictions = []

        def differentiate() -> Tensor:
            self._optimiser.zero_grad()
            prediction = self._network(*batch.arguments)
            predictions.append(prediction.detach())
            loss = self.loss(prediction, batch)
            if not torch.isfinite(loss):
                raise KrylosetError(
                    f"training diverged in {when}: lower training.learning_rate, which is "
                    f"{self.rate:g}"
                )
            self.fabric.backward(loss, create_graph=self.settings.optimiser == "adahessian")
            if self.settings.clip:
                self.fabric.clip_gradients(
                    self._network,
                    self._optimiser,
                    max_norm=self.settings.clip,
                    # In sixteen bits, the scaler skips such a step and lowers its scale.
                    error_if_nonfinite=False,
                )
            return loss

        if self.settings.optimiser == "lbfgs":  # whose line search evaluates the loss several times
            self._optimiser.step(differentiate)
        elif self.settings.optimiser == "adahessian":
            with twice_differentiable():
                differentiate()
            self._optimiser.step()
        else:
            differentiate()
            self._optimiser.step()
        self._schedule.step()
        if self.average:
            self.average.update_parameters(self.operator)
        return predictions[0]

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, and torch's random numbers."""
        return {
            "weights": weights(self.operator),
            "average": weights(self.average) if self.average else None,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scale": self.fabric.strategy.precision.state_dict(),
            "random": random_states(self.fabric.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.operator.load_state_dict(state["weights"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["scale"])
        restore_random(state["random"], self.fabric.device)


def mean_error(operator: Operator, batches: Iterable[Batch]) -> float:
    """Return the mean relative L2 error of an operator, over all steps of the batches.

    Fields that are 0 have none.
    """
    device = operator.scaling.input_mean.device
    operator.eval()
    with torch.no_grad():
        errors = [
            batch.relative_l2(unroll(operator, batch.steps)(*batch.to(device).arguments).cpu())
            for batch in batches
        ]
    return float(mean(np.concatenate(errors)))
