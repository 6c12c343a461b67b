# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A few predictions of a model beside the truth, in a file that is read without the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.staged import StagedFile, create_staged
from kryloset.errors import DataError

type Array = NDArray[np.float64]

#: The arrays of the file, with a row for each instance.
_ROWS = ("instance", "error", "truth", "prediction")


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for the best, the median and the worst instance of a split.

    Attributes:
        label: What results call the model.
        dataset: Digest of the dataset.
        split: The split.
        channels: Names of the fields, with `_x`, `_y` or `_z` for the components of vectors.
        coordinates: Coordinates of the grid by axis.
        instance: Numbers of the instances.
        error: Relative L2 error of each, the mean over its fields.
        truth: Solutions, (instances, fields, *grid), NaN outside the domain.
        prediction: Predictions in the same shape, NaN there as well.
    """

    label: str
    dataset: str
    split: str
    channels: tuple[str, ...]
    coordinates: Mapping[str, Array]
    instance: NDArray[np.int64]
    error: Array
    truth: Array
    prediction: Array


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file.

    Raises:
        DataError: It cannot be written.
    """
    with create_staged(path) as file:
        file.describe(
            {
                "label": predictions.label,
                "dataset": predictions.dataset,
                "split": predictions.split,
                "channels": ",".join(predictions.channels),
                "axes": ",".join(predictions.coordinates),
            }
        )
        for name in _ROWS:
            file.array(name, getattr(predictions, name))
        for axis, points in predictions.coordinates.items():
            file.array(f"coordinates/{axis}", points)


def read_predictions(path: Path) -> Predictions:
    """Read the file.

    Raises:
        DataError: It is missing, damaged, or not such a file.
    """
    with StagedFile(path) as file:
        try:
            axes = str(file.attrs["axes"]).split(",")
            return Predictions(
                label=str(file.attrs["label"]),
                dataset=str(file.attrs["dataset"]),
                split=str(file.attrs["split"]),
                channels=tuple(str(file.attrs["channels"]).split(",")),
                coordinates={axis: file.array(f"coordinates/{axis}") for axis in axes},
                **{name: file.array(name) for name in _ROWS},
            )
        except KeyError as error:
            raise DataError(
                f"{path} has no {error}: `kryloset evaluate` did not write it"
            ) from None
