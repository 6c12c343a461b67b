# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Begin a training with the weights of a finished one."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from kryloset.config import TrainingConfig, label_of
from kryloset.errors import DataError
from kryloset.learn.models.base import Task
from kryloset.learn.models.registry import model_class, read_settings
from kryloset.learn.operator import Operator, read_model

#: What two models have in common of which one begins with the weights of the other.
_ALIKE = {
    "inputs": "its inputs are {}",
    "outputs": "its outputs are {}",
    "dimensions": "it has {} axes of space",
    "window": "it sees {} states",
    "time_step": "its steps have the length {}",
}


@dataclass(frozen=True, eq=False)
class Start:
    """A finished training with which others begin.

    Attributes:
        path: The file of its model.
        digest: SHA-256 of the file.
        about: What describes it.
        weights: Its weights with the scaling.
    """

    path: Path
    digest: str
    about: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            DataError: As `read_model`; or it does not say what it has seen.
        """
        about, weights = read_model(path)
        if "seen" not in about:
            raise DataError(f"{path} does not say what it has seen; `kryloset train` makes one")
        return cls(path, sha256(path.read_bytes()).hexdigest(), about, weights)

    def begin(self, operator: Operator, about: Mapping[str, Any]) -> None:
        """Give an operator the weights and the scaling.

        Args:
            operator: The operator, changed in place.
            about: What describes the operator.

        Raises:
            DataError: The networks, their channels or where they learn differ.
        """
        _require_same_network(self.path, self.about, about["model"], about["settings"])
        known, task = Task.read(self.about), Task.read(about)
        told = {
            "it learned on the {}": [of["where"] for of in (self.about, about)],
            **{text: [getattr(of, key) for of in (known, task)] for key, text in _ALIKE.items()},
        }
        for text, (there, here) in told.items():
            if there != here:
                raise DataError(
                    f"training.start: {self.path} does not fit the dataset: "
                    f"{text.format(_tell(there))}, and not {_tell(here)}"
                )
        try:
            operator.load_state_dict(self.weights)
        except RuntimeError as error:
            raise DataError(
                f"training.start: the weights of {self.path} do not fit: {error}"
            ) from None


def require_network(training: TrainingConfig) -> None:
    """Refuse the start of a training whose network is another one, before there is a dataset.

    Args:
        training: The configuration of a single training.

    Raises:
        ConfigError: A setting of the network is unknown or wrong.
        DataError: The file cannot be read, or has another network.
    """
    ((label, name),) = training.labels.items()
    settings = read_settings(model_class(name), name, training.settings.get(label, {}))
    path = Path(str(training.start))
    _require_same_network(path, read_model(path).about, name, settings.model_dump())


def _require_same_network(
    path: Path, about: Mapping[str, Any], name: str, settings: Mapping[str, Any]
) -> None:
    """Refuse another network, or one with other settings."""
    there, here = label_of(about["model"]), label_of(name)
    if there != here:
        raise DataError(f"training.start: {path} is a model {there}, and not {here}")
    had = read_settings(model_class(name), str(path), about["settings"]).model_dump()
    for key, now in settings.items():
        if had[key] != now:
            raise DataError(
                f"training.start: {path} has {key}: {had[key]}, and not {now}: write it in "
                f"training.settings.{here}"
            )


def _tell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple | list) else str(value)
