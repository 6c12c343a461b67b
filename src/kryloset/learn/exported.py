# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Operators as programs of `torch.export`, which torch loads without this package."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from neuralop.layers.spectral_convolution import SpectralConv, get_contract_fun
from tensorly.plugins import use_default_einsum, use_opt_einsum
from torch import nn

from kryloset.dataset.atomic import write_whole
from kryloset.errors import DataError
from kryloset.learn.models.base import OnGrid, Task
from kryloset.learn.operator import Operator

#: The file in an exported program that has the metadata of the operator.
ABOUT = "about.json"


def export_operator(operator: Operator, path: Path, grid: Sequence[int] | None = None) -> None:
    """Write an operator as a program for batches of any size on one grid.

    `torch.export.load(path).module()` maps inputs (N, C, *grid) to outputs (N, K, *grid), in
    physical units, as the operator does. The metadata are the extra file `ABOUT`.

    Args:
        operator: A loaded operator, on the CPU.
        path: The file to write, which ends in `.pt2`.
        grid: Points along each axis; by default those of the grid of training.

    Raises:
        DataError: The operator maps functions on meshes, or at points inside a mask; the grid has
            another number of axes, or is none that the network takes; or torch does not follow the
            network.
    """
    about = operator.about
    task, name = Task.read(about), about["model"]
    own = tuple(map(len, task.coordinates))
    points = tuple(grid or own)
    if about["where"] != "grid":
        raise DataError(
            f"model {name} learnt on meshes, and a program has arrays of one size: load it by "
            "`load_model`, or export one that learnt on a grid"
        )
    if isinstance(operator.network, OnGrid) and task.masked:
        raise DataError(
            f"model {name} maps the points inside of a mask, whose number a program would have to "
            "know: load it by `load_model`, or export a model on grids, such as fno"
        )
    if len(points) != task.dimensions:
        raise DataError(f"a grid of {len(points)} axes: model {name} has {task.dimensions}")
    named = "x".join(map(str, points))
    if min(points) < 2:
        raise DataError(f"a grid of {named} points: an axis has 2 at least")
    if points != own and not operator.network.any_grid:
        raise DataError(
            f"a grid of {named} points: model {name} takes that of training alone, of "
            f"{'x'.join(map(str, own))}"
        )
    # Three instances, since torch takes one for a size that never changes.
    example = torch.ones(3, len(task.inputs), *points)
    try:
        with torch.no_grad(), _products_of_any_size(operator):
            program = torch.export.export(
                operator, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
            )
    except Exception as error:  # torch raises a dozen types.
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"torch.export does not follow the network of model {name} ({reason}): load it by "
            "`load_model`"
        ) from error
    told = json.dumps({**about, "grid": points}, default=str)
    with write_whole(path) as part, part.open("wb") as file:
        torch.export.save(program, file, extra_files={ABOUT: told})


@contextmanager
def _products_of_any_size(module: nn.Module) -> Iterator[None]:
    """Let Fourier layers multiply without a plan, which is made for one size of batches.

    Weights that are factors are multiplied to one array first.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, SpectralConv)]
    before = [layer._contract for layer in layers]
    use_default_einsum()
    try:
        for layer in layers:
            layer._contract = get_contract_fun(
                layer.weight, implementation="reconstructed", separable=layer.separable
            )
        yield
    finally:
        for layer, contract in zip(layers, before, strict=True):
            layer._contract = contract
        use_opt_einsum("optimal")  # as neuraloperator has it
