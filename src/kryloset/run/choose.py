# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Choose instances to solve by how far trained operators disagree about them."""

import logging
from collections.abc import Mapping, Sequence
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, RefinementConfig, TrainingConfig
from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.layout import recorded
from kryloset.dataset.writer import write_dataset
from kryloset.errors import ConfigError, DataError
from kryloset.given.opening import open_parameters
from kryloset.learn.data import FieldPairs
from kryloset.learn.disagreement import choose_by_spread, measure_spread
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import Operator, load_model
from kryloset.problems import Family, Instance, load_family
from kryloset.problems.base import Variable
from kryloset.problems.populations import Population
from kryloset.progress import track
from kryloset.run.draw import Drawn

logger = logging.getLogger(__name__)

#: Candidates that are in memory at a time.
BLOCK = 64


def run(
    config: DatasetConfig,
    *,
    models: Sequence[Path],
    first: int,
    pool: int,
    count: int,
    output: Path,
    network: str | None = None,
) -> None:
    """Write parameters of instances for the key `instances` of a dataset.

    The first ones are those that are drawn with numbers below `first`, which the models may have
    learnt from. The others are drawn from the `pool` instances after them, each with a probability
    proportional to the spread of the models' predictions.

    Args:
        config: The dataset whose instances are drawn.
        models: Files of at least two operators, which differ by their seeds.
        first: Instances that are written as they are drawn.
        pool: Instances that are candidates.
        count: How many of them are chosen.
        output: HDF5 file to write: each parameter, a row an instance.
        network: The network as `file.py:Class`, if it is one of somebody's own.

    Raises:
        ConfigError: There is one model, or a number does not fit; the dataset takes its
            instances from a file.
        DataError: A model cannot be read, or needs other inputs than the parameters; or all models
            predict the same of an instance, or no numbers.
    """
    if len(models) < 2:
        raise ConfigError(
            "one model has no spread: give several, trained with different seeds (training.seeds)"
        )
    if not 1 <= count <= pool:
        raise ConfigError(f"--count {count}: from 1 to {pool} of a pool of {pool} can be chosen")
    family = load_family(config)
    if open_parameters(config, family) is not None:
        raise ConfigError("instances: those that lie in a file cannot be drawn")
    kind = None if network is None else model_class(network)
    operators = [load_model(path, kind) for path in models]
    drawn = Drawn([Population(family)], config.seed, precision=config.storage.precision)
    candidates = range(first, first + pool)
    blocks = track([*batched(candidates, BLOCK)], "measuring the spread", pool, amount=len)
    spread = np.concatenate(
        [_measure(operators, drawn.instances(block), config, family) for block in blocks]
    )
    useless = np.flatnonzero(~((spread > 0) & np.isfinite(spread)))
    if len(useless):
        raise DataError(
            f"instance {first + useless[0]}: the spread of the models is {spread[useless[0]]:g}, "
            "which chooses nothing: give models that differ by their seeds, and whose predictions "
            "are finite"
        )
    generator = np.random.default_rng(config.seed)
    chosen = first + choose_by_spread(spread, count, generator)
    logger.info(
        "%d of %d instances chosen, with a mean spread of %.3g instead of %.3g",
        count, pool, spread[chosen - first].mean(), spread.mean(),
    )  # fmt: skip
    numbers = [*range(first), *chosen.tolist()]
    with write_whole(output) as part, create_hdf5(part) as file:
        for row, number in enumerate(numbers):
            (instance,) = drawn.instances([number])
            for name, values in instance.items():
                if row == 0:
                    file.create_dataset(name, (len(numbers), *values.shape), values.dtype)
                file[name][row] = values


def _measure(
    operators: Sequence[Operator], instances: Sequence[Instance], config: DatasetConfig,
    family: Family,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the spread of the predictions of each instance."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.h5"
        _write_unsolved(path, instances, config, family)
        pairs = FieldPairs(path, "train")
        x, _ = pairs.stack(range(len(pairs)))
        found = []
        for operator in operators:
            inputs = operator.about["inputs"]
            missing = [name for name in inputs if name not in pairs.inputs]
            if missing or operator.about["where"] != "grid":
                told = ", ".join(missing) or "meshes"
                raise DataError(
                    f"a model needs {told}, which no instance has before it is solved: choose "
                    "with models on the grid whose inputs are parameters"
                )
            order = [pairs.inputs.index(name) for name in inputs]
            with torch.no_grad():
                found.append(operator(torch.from_numpy(x[:, order]).float()).double().numpy())
    return measure_spread(np.stack(found))


def _write_unsolved(
    path: Path, instances: Sequence[Instance], config: DatasetConfig, family: Family
) -> None:
    """Write instances as a dataset whose solutions are zeros: models see their parameters alone."""
    count = len(instances)
    small = config.model_copy(
        update={
            "count": count, "chunks": 1, "splits": {"train": 1.0}, "ood": {},
            "mesh": config.mesh.model_copy(update={"grids": ()}),
            "refinement": RefinementConfig(), "training": TrainingConfig(),
        }
    )  # fmt: skip
    nothing = {variable.name: _zeros(family, variable) for variable in family.fields}
    rows: list[Mapping[str, Any]] = [{**instance, **nothing} for instance in instances]
    solver = dict.fromkeys(recorded(small.storage), np.zeros(count))
    write_dataset(path, "candidates", small, family, rows, solver, {0: "not solved"}, {}, "")


def _zeros(family: Family, variable: Variable) -> NDArray[np.float64]:
    """Return a field of an instance that is 0 everywhere."""
    states = () if family.times is None else (len(family.times),)
    points = (len(family.coordinates[axis]) for axis in variable.axes)
    return np.zeros((*states, *points, *((family.dimension,) if variable.rank else ())))
