# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving instances of a family."""

from typing import Any

from mpi4py import MPI

import numpy as np
import xarray
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import mask_key, recorded
from kryloset.errors import ConfigError
from kryloset.extras import advised
from kryloset.fem.discretise import discretise
from kryloset.krylov.reason import MEANINGS
from kryloset.library.families import ConfiguredFamily
from kryloset.library.labels import SAMPLE, Parameters, label
from kryloset.problems import Discretisation
from kryloset.problems.registry import check_solver
from kryloset.progress import track
from kryloset.run import files
from kryloset.run.chunk import record_solves
from kryloset.run.solve import stored_fields
from kryloset.run.solve_record import SolveRecord, solve_in_order
from kryloset.run.solver import make_solver, read_selection
from kryloset.run.sort import order_instances

#: All instances are solved in one chunk.
CHUNK = "1-of-1"


def solve(
    family: ConfiguredFamily,
    instances: xarray.Dataset,
    *,
    tolerance: float = 1e-8,
    method: str = "auto",
    sort: str = "auto",
    features: str = "auto",
    **settings: Any,
) -> xarray.DataTree:
    """Solve instances of a family, recycling from each to the next.

    Instances are sorted by similarity first, as the workflow sorts them, and come back in the
    order in which they were given. A progress bar is shown.

    Args:
        family: The family, from `kryloset.family`.
        instances: As `family.draw` returns them, or some of them, or with other values.
        tolerance: Largest true relative residual ||b - A x|| / ||b|| of a solution.
        method: Solver; "auto" selects the quickest strategy by measured seconds.
        sort: Solving order; "given" solves the instances as they are.
        features: The features by which instances are compared for sorting.
        settings: Further keys of `solver` in config/README.md, which describes those above too,
            such as preconditioner="icc".

    Returns:
        A tree laid out as a dataset of the workflow (docs/reference/dataset.md):
        `tree["t0_fields/u"]` has the dimensions sample, time, x, y. The group `solver` has what
        each solve took: iterations, true_residual, and, beyond what a file has, `seconds` by part
        and `strategy` in words.

    Raises:
        ConfigError: `family` is not one that `kryloset.family` made; or a key is not known, or its
            value is not allowed or does not suit the operator.
        DataError: The instances are not those of the family; the message has an instance's number.
        KrylosetError: An instance, which the message names, was not solved to the tolerance.
    """
    if not isinstance(family, ConfiguredFamily):
        raise ConfigError(
            f"family has the type {type(family).__name__}: make one by kryloset.family, as in "
            'kryloset.solve(kryloset.family("darcy"), instances)'
        )
    problem = family.problem
    parameters = Parameters(problem, instances)
    config = family.configuration(
        count=len(parameters),
        sort=sort,
        features=features,
        solver={"method": method, "tolerance": tolerance, **settings},
    )
    check_solver(problem, family.name, config.solver)
    order = order_instances(config, problem, parameters)
    with advised():
        discretisation = discretise(problem, MPI.COMM_SELF, config.solver.width)
    solved = _Solved(family, config, parameters, order)
    solved.run(discretisation)
    return solved.label(discretisation)


class _Solved:
    """Instances, and the results of those that are solved."""

    def __init__(
        self,
        family: ConfiguredFamily,
        config: DatasetConfig,
        parameters: Parameters,
        order: NDArray[np.int64],
    ) -> None:
        self._family = family.problem
        self._config = config
        self._parameters = parameters
        self._order = order
        #: By place among the given instances: parameters, fields and unknowns; what the solve took,
        #: as in a chunk's file; and the strategy in words.
        self._arrays: dict[int, dict[str, NDArray[Any]]] = {}
        self._rows: dict[int, dict[str, NDArray[Any]]] = {}
        self._labels: dict[int, str] = {}

    def run(self, discretisation: Discretisation) -> None:
        """Solve all instances in their order."""
        solver = self._config.solver
        made = make_solver(solver, self._family, read_selection(solver, CHUNK))
        given = (
            (int(self._parameters.numbers[place]), self._instance(place)) for place in self._order
        )
        solutions = solve_in_order(discretisation, made, given)
        for position, (solution, record) in enumerate(
            track(solutions, "solving instances", len(self._order))
        ):
            self._add(discretisation, position, solution, record)

    def _instance(self, place: int) -> dict[str, NDArray[np.float64]]:
        (instance,) = self._parameters.instances([place])
        return instance

    def _add(
        self,
        discretisation: Discretisation,
        position: int,
        solution: dict[str, NDArray[Any]],
        record: SolveRecord,
    ) -> None:
        place = int(self._order[position])
        instance = self._instance(place)
        fields = stored_fields(
            self._config, self._family, discretisation, instance, solution, check=position == 0
        )
        self._arrays[place] = instance | fields
        numbers = self._parameters.numbers
        before = int(numbers[self._order[position - 1]]) if position else -1
        self._rows[place] = record_solves(before, [record])
        self._labels[place] = record.label

    def label(self, discretisation: Discretisation) -> xarray.DataTree:
        """Return everything as a tree of labelled arrays."""
        count = len(self._order)
        names = [files.strategy_name(self._labels[place]) for place in range(count)]
        strategies = sorted(set(names))
        found = {
            "chunk": np.zeros(count),
            "position": np.argsort(self._order),
            "way": np.array([strategies.index(name) for name in names]),
        }
        quantities = {
            quantity: found[quantity] if quantity in found else self._column(files.solver(quantity))
            for quantity in recorded(self._config.storage)
        }
        masks = {
            mask_key("" if points is None else files.on_grid(points, "")): mask
            for points, mask in discretisation.masks().items()
        }
        tree = label(
            self._config, self._family, self._parameters.numbers,
            [self._arrays[place] for place in range(count)],
            solver=quantities, reasons=MEANINGS, meshes=discretisation.meshes(), masks=masks,
            strategies=strategies,
        )  # fmt: skip
        parts = [path for path in self._rows[0] if path.startswith(files.seconds(""))]
        seconds = np.stack([self._column(part) for part in parts], axis=1)
        record = (
            tree.children["solver"]
            .to_dataset(inherit=False)
            .assign(
                strategy=(SAMPLE, [self._labels[place] for place in range(count)]),
                seconds=((SAMPLE, "part"), seconds, {"units": "s"}),
                part=[part.removeprefix(files.seconds("")) for part in parts],
            )
        )
        tree["solver"] = xarray.DataTree(record)
        return tree

    def _column(self, path: str) -> NDArray[Any]:
        return np.concatenate([self._rows[place][path] for place in range(len(self._rows))])
