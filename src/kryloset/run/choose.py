# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Choose instances to solve by what trained operators do not know about them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.config import DatasetConfig, RefinementConfig, TrainingConfig
from kryloset.dataset.atomic import create_hdf5, require_writable, write_whole
from kryloset.dataset.layout import recorded
from kryloset.dataset.writer import write_dataset
from kryloset.errors import ConfigError, DataError
from kryloset.given.opening import open_parameters
from kryloset.learn.data import FieldPairs
from kryloset.learn.disagreement import choose_by_spread, measure_spread
from kryloset.learn.interpolation import GridInterpolation
from kryloset.learn.last_layer import LastLayer, choose_by_variance, measure_variance
from kryloset.learn.models.base import Task
from kryloset.learn.models.own import network_blamed
from kryloset.learn.operator import Operator, load_with_network, unroll
from kryloset.learn.pairs import open_trajectories
from kryloset.learn.seen import warn_of_another_family
from kryloset.problems import EvolutionFamily, Family, Instance, load_family
from kryloset.problems.base import Variable
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.populations import Population
from kryloset.progress import track
from kryloset.run.draw import Drawn

logger = logging.getLogger(__name__)

type Array = NDArray[np.float64]

#: From numbers of instances to what each operator sees of them.
type See = Callable[[Iterable[int]], "list[Seen]"]

type By = Literal["spread", "features"]

#: Candidates that are in memory at a time.
BLOCK = 64


class Seen(NamedTuple):
    """What an operator sees of instances that are not solved.

    Attributes:
        x: Its inputs, (N, C, *grid), with the initial state if it goes along trajectories.
        steps: Its steps to the end of a trajectory; 1 without one.
    """

    x: Tensor
    steps: int


def run(
    config: DatasetConfig,
    *,
    models: Sequence[Path],
    first: int,
    pool: int,
    count: int,
    output: Path,
    by: By = "spread",
    network: str | None = None,
) -> None:
    """Write parameters of instances for the key `instances` of a dataset.

    The first ones are those that are drawn with numbers below `first`, which the models may have
    learnt from. The others are chosen from the `pool` instances after them: by the spread of the
    predictions of several models, with probabilities in proportion to it, or by the features of the
    last layer of one model, each where the first and those before leave the largest variance.

    Args:
        config: The dataset whose instances are drawn.
        models: Files of operators: by the spread two at least, which differ by their seeds; by
            features one.
        first: Instances that are written as they are drawn.
        pool: Instances that are candidates.
        count: How many of them are chosen.
        output: HDF5 file to write: each parameter, a row an instance.
        by: What chooses them.
        network: The network as `file.py:Class`, if it is one of somebody's own.

    Raises:
        ConfigError: There are too few or too many models, or a number does not fit; the dataset
            takes its instances from a file.
        DataError: A model cannot be read, needs other inputs than the parameters and the initial
            state, or has no last layer; all models predict the same of an instance, or no numbers;
            or the file cannot be written.
    """
    require_writable(output)
    if by == "spread" and len(models) < 2:
        raise ConfigError(
            "one model has no spread: give several, trained with different seeds (training.seeds), "
            "or choose with `--by features`"
        )
    if by == "features" and len(models) > 1:
        raise ConfigError(f"--by features takes the features of one model: {len(models)} are given")
    if not 1 <= count <= pool:
        raise ConfigError(f"--count {count}: from 1 to {pool} of a pool of {pool} can be chosen")
    family = load_family(config)
    if open_parameters(config, family) is not None:
        raise ConfigError("instances: those that lie in a file cannot be drawn")
    operators = [load_with_network(path, network) for path in models]
    for path, operator in zip(models, operators, strict=True):
        warn_of_another_family(path, operator.about, "the configuration", config.family)
    drawn = Drawn([Population(family)], config.seed, precision=config.storage.precision)

    def see(numbers: Iterable[int]) -> list[Seen]:
        return _inputs(operators, drawn.instances([*numbers]), config, family)

    with network_blamed(network):
        if by == "spread":
            chosen = first + _by_spread(operators, see, first, pool, count, config.seed)
        else:
            chosen = first + _by_features(operators[0], see, first, pool, count)
    numbers = [*range(first), *chosen.tolist()]
    with write_whole(output) as part, create_hdf5(part) as file:
        for row, number in enumerate(numbers):
            (instance,) = drawn.instances([number])
            for name, values in instance.items():
                if row == 0:
                    file.create_dataset(name, (len(numbers), *values.shape), values.dtype)
                file[name][row] = values


def _by_spread(
    operators: Sequence[Operator], see: See, first: int, pool: int, count: int, seed: int
) -> NDArray[np.int64]:
    """Return the places of candidates, drawn in proportion to the spread of the predictions."""
    found = []
    blocks = [*batched(range(first, first + pool), BLOCK)]
    for block in track(blocks, "measuring the spread", pool, amount=len):
        with torch.no_grad():
            predictions = [
                unroll(operator, seen.steps)(seen.x).double().numpy()
                for operator, seen in zip(operators, see(block), strict=True)
            ]
        found.append(measure_spread(np.stack(predictions)))
    spread = np.concatenate(found)
    useless = np.flatnonzero(~((spread > 0) & np.isfinite(spread)))
    if len(useless):
        raise DataError(
            f"instance {first + useless[0]}: the spread of the models is {spread[useless[0]]:g}, "
            "which chooses nothing: give models that differ by their seeds, and whose predictions "
            "are finite"
        )
    chosen = choose_by_spread(spread, count, np.random.default_rng(seed))
    _tell_choice("spread", spread, chosen)
    return chosen


def _by_features(
    operator: Operator, see: See, first: int, pool: int, count: int
) -> NDArray[np.int64]:
    """Return the places of candidates whose last-layer features are the least known ones."""
    layer = LastLayer(operator, see([first, first + 1])[0].x)
    found = []
    blocks = [*batched(range(first + pool), BLOCK)]
    for block in track(blocks, "measuring features", first + pool, amount=len):
        found.append(layer.grams(see(block)[0].x))
    grams = np.concatenate(found)
    useless = np.flatnonzero(~np.isfinite(grams).all(axis=(1, 2)))
    if len(useless):
        raise DataError(
            f"instance {useless[0]}: the model has features or predictions that are not finite, or "
            "predicts 0 everywhere, which chooses nothing: train it again"
        )
    chosen = choose_by_variance(grams[:first], grams[first:], count)
    variance = measure_variance(grams[:first], grams[first:])
    _tell_choice("variance", variance, chosen)
    return chosen


def _tell_choice(measure: str, found: Array, chosen: NDArray[np.int64]) -> None:
    """Log how the chosen candidates compare with all of them."""
    logger.info(
        "%d of %d instances chosen, with a mean %s of %.3g instead of %.3g",
        len(chosen), len(found), measure, found[chosen].mean(), found.mean(),
    )  # fmt: skip


def _inputs(
    operators: Sequence[Operator], instances: Sequence[Instance], config: DatasetConfig,
    family: Family,
) -> list[Seen]:  # fmt: skip
    """Return what each operator sees of instances, on the grid that it learned on.

    From the grid of the dataset to another one, parameters are interpolated as in forms.
    """
    first = _initial_state(family, instances[0])
    unknown = [variable.name for variable in family.fields if variable.name not in first]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.h5"
        _write_unsolved(path, instances, config, family)
        return [_see(operator, path, unknown) for operator in operators]


def _see(operator: Operator, path: Path, unknown: Sequence[str]) -> Seen:
    """Return what an operator sees of the instances of a file.

    Args:
        operator: The operator.
        path: The file, without solutions.
        unknown: Names of the fields whose initial states it has not.
    """
    task = Task.read(operator.about)
    if operator.about["where"] != "grid":
        missing = ["meshes"]
    elif task.window > 1:
        missing = [f"{task.window} states"]
    elif task.window and unknown:
        missing = [f"the initial state of {', '.join(unknown)}"]
    else:
        pairs = open_trajectories(task, path, FieldPairs)(path, "train")
        missing = [name for name in task.inputs if name not in pairs.inputs]
    if missing:
        beside = "" if unknown else ", or the initial state beside them (training.window: 1)"
        raise DataError(
            f"a model needs {', '.join(missing)}, which no instance has before it is solved: "
            f"choose with models on the grid whose inputs are parameters{beside}"
        )
    x = pairs.stack(range(len(pairs)))[0][:, [pairs.inputs.index(name) for name in task.inputs]]
    if not all(map(np.array_equal, task.coordinates, pairs.coordinates)):
        x = _interpolate(x, pairs, task.coordinates)
    return Seen(torch.from_numpy(x).float(), pairs.steps)


def _interpolate(x: Array, pairs: FieldPairs, coordinates: Sequence[Array]) -> Array:
    """Return inputs (N, C, *grid) on a grid with other points."""
    points = np.stack([axis.ravel() for axis in np.meshgrid(*coordinates, indexing="ij")], axis=1)
    between = GridInterpolation(pairs.closed_coordinates, points, x.shape[2:])
    return between(x).reshape(*x.shape[:2], *map(len, coordinates))


def _write_unsolved(
    path: Path, instances: Sequence[Instance], config: DatasetConfig, family: Family
) -> None:
    """Write instances as a dataset whose solutions are 0, but for the initial states."""
    count = len(instances)
    small = config.model_copy(
        update={
            "count": count, "chunks": 1, "splits": {"train": 1.0}, "ood": {},
            "mesh": config.mesh.model_copy(update={"grids": ()}),
            "refinement": RefinementConfig(), "training": TrainingConfig(),
        }
    )  # fmt: skip
    rows: list[Mapping[str, Any]] = []
    for instance in instances:
        fields = {variable.name: _zeros(family, variable) for variable in family.fields}
        for name, state in _initial_state(family, instance).items():
            fields[name][0] = state
        rows.append({**instance, **fields})
    solver = dict.fromkeys(recorded(small.storage), np.zeros(count))
    write_dataset(path, "candidates", small, family, rows, solver, {0: "not solved"}, {}, "")


def _initial_state(family: Family, instance: Instance) -> dict[str, Array]:
    """Return the fields at time 0, as far as they are known on the grid."""
    if not isinstance(family, EvolutionFamily):
        return {}
    with blamed(family, "initial_state"):
        state, fields = family.initial_state(instance), {field.name for field in family.fields}
    return {name: values for name, values in state.items() if name in fields}


def _zeros(family: Family, variable: Variable) -> NDArray[np.float64]:
    """Return a field of an instance that is 0 everywhere."""
    states = () if family.times is None else (len(family.times),)
    points = (len(family.coordinates[axis]) for axis in variable.axes)
    return np.zeros((*states, *points, *((family.dimension,) if variable.rank else ())))
