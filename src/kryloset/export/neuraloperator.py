# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files of tensors as neuraloperator's datasets read them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kryloset.dataset.grids import name_grids
from kryloset.errors import DataError
from kryloset.export.base import Format
from kryloset.export.selection import Array, GridView, Selection


class NeuralOperator(Format):
    """`<name>_<split>_<points>.pt` for each grid, for `PTDataset` and `load_darcy_flow_small`.

    Each has `x`, the parameters, and `y`, the solution, in a trajectory its last state: (instance,
    channel, *grid), without the axis of channels where both have one, as in the library's own
    files. Outside of the domain both are 0, and the last channel of `x` is the mask.
    """

    several_grids = True

    def write(self, selection: Selection, path: Path) -> None:
        """Write a file for each grid and split."""
        names = {points: name for name, points in name_grids(selection.dataset).items()}
        for points in selection.grids:
            view = selection.on(points)
            if not view.parameters:
                raise DataError(
                    f"{selection.dataset.file.filename}: no parameter is a number or a function on "
                    "the grid, so a neural operator would have no input"
                )
            for split, instances in selection.splits.items():
                target = path / f"{selection.dataset.name}_{split}_{names[points]}.pt"
                _write(view, instances.tolist(), selection.dtype, target)


def _write(view: GridView, instances: list[int], dtype: np.dtype[Any], target: Path) -> None:
    """Write one file; its tensors are filled in files of their own and not in memory."""
    inputs, outputs = map(len, _pair(view, instances[0]))
    files = [target.with_suffix(f".{name}") for name in "xy"]
    tensors = [
        np.memmap(file, dtype, "w+", shape=(len(instances), channels, *view.shape))
        for file, channels in zip(files, (inputs, outputs), strict=True)
    ]
    for row, instance in enumerate(instances):
        for tensor, channels in zip(tensors, _pair(view, instance), strict=True):
            tensor[row] = channels
    squeezed = inputs == outputs == 1
    x, y = (torch.from_numpy(tensor[:, 0] if squeezed else tensor) for tensor in tensors)
    torch.save({"x": x, "y": y}, target)
    for file in files:
        file.unlink()


def _pair(view: GridView, instance: int) -> tuple[list[Array], list[Array]]:
    """Return the channels of an instance's parameters and of its solution."""
    x, y = (view.channels(names, instance) for names in (view.parameters, view.fields))
    if view.dataset.times is not None:
        y = [states[-1] for states in y]
    if (inside := view.inside(instance)) is not None:
        x, y = ([np.where(inside, values, 0) for values in part] for part in (x, y))
        x.append(inside.astype(np.float64))
    return x, y
