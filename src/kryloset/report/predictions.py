# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pictures of predictions beside the truth, for the best, the median and the worst instance."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kryloset.dataset.predictions import Predictions
from kryloset.report.gallery import Pictures, gallery

type Array = NDArray[np.float64]

#: What the columns show, in their order.
COLUMNS = ("best", "median", "worst")


def draw_predictions(predictions: Predictions) -> Figure:
    """Draw truth, prediction and error of each field, a row each; of a box its middle plane."""
    rows = []
    for channel, truth, prediction in zip(
        predictions.channels,
        np.moveaxis(_planes(predictions.truth), 1, 0),
        np.moveaxis(_planes(predictions.prediction), 1, 0),
        strict=True,
    ):
        both = np.stack([truth, prediction])
        limits = float(np.nanmin(both)), float(np.nanmax(both))
        rows += [
            Pictures(f"{channel}, truth", truth, computed=True, limits=limits),
            Pictures(f"{channel}, prediction", prediction, computed=True, limits=limits),
            Pictures(f"{channel}, error", prediction - truth, computed=True, error=True),
        ]
    titles = [
        f"{column}: {error:.2g}" for column, error in zip(COLUMNS, predictions.error, strict=True)
    ]
    plane = dict(list(predictions.coordinates.items())[:2])
    return gallery(rows, titles, plane)


def describe_predictions(predictions: Predictions) -> str:
    """Return what the figure shows, for screen readers."""
    told = ", ".join(
        f"{column} instance {number} with a relative L2 error of {error:.2g}"
        for column, number, error in zip(
            COLUMNS, predictions.instance, predictions.error, strict=True
        )
    )
    return (
        f"Truth, prediction of {predictions.label} and error of {', '.join(predictions.channels)} "
        f"on the split {predictions.split}: {told}."
    )


def _planes(values: Array) -> Array:
    """Return the middle plane along the last axis of a box; other functions as they are."""
    return values[..., values.shape[-1] // 2] if values.ndim == 5 else values
