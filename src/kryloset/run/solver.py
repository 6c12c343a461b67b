# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""From a configuration to the solver it describes, for the matrices that a family declares."""

import json
from pathlib import Path

import h5py

from kryloset.config import SolverConfig
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.krylov import (
    Automatic,
    AutomaticState,
    Recording,
    SequenceSolver,
    State,
    Structure,
)
from kryloset.krylov.names import SKR
from kryloset.problems import Family
from kryloset.run.solve_record import FALLBACK


def fixed_solver(config: SolverConfig) -> SequenceSolver:
    """Return the solver with the configured settings; for method `auto`, GCRO-DR."""
    settings = config.model_dump(exclude={"policy"}) | {"lanes": config.width}
    if config.method == "auto":
        settings |= {"method": "gcrodr", "refresh": "always", "lanes": 1}
    elif config.method == "skr":
        settings |= SKR
    return SequenceSolver().change(**settings)


def make_solver(
    config: SolverConfig, family: Family, replay: Recording | None = None
) -> SequenceSolver | Automatic:
    """Return the configured solver.

    Args:
        config: The solver's settings.
        family: Declares the operator.
        replay: A recorded selection to follow; by default measured seconds decide.
    """
    if not config.chooses:
        return fixed_solver(config)
    strategies = () if config.method == "auto" else (fixed_solver(config),)
    return Automatic(
        config.tolerance, config.max_iterations, declared_structure(family), strategies, replay
    )


def declared_structure(family: Family) -> Structure:
    """Return what a family declares about its matrices, in the solvers' terms."""
    operator = family.operator
    return Structure(
        symmetric=operator.symmetric,
        definite=operator.symmetric and operator.definite,
        # All time steps of an instance share one matrix.
        constant=operator.constant or family.times is not None,
        saddle_point=operator.saddle_point,
        singular=operator.nullspace != "none",
    )


def read_selection(config: SolverConfig, chunk: str) -> Recording | None:
    """Return the recorded selection that a chunk replays; None if measured seconds decide.

    Args:
        config: The solver's settings; `policy` names the file.
        chunk: Name of the chunk, such as `1-of-2`.

    Raises:
        DataError: The file is missing or damaged, or was recorded with other chunks.
        KrylosetError: It does not hold a recorded selection.
    """
    if config.replayed is None:
        return None
    try:
        recorded = json.loads(read_choices(config.replayed))
    except (ValueError, RecursionError) as error:
        raise _unreadable(config.replayed, error) from None
    if not isinstance(recorded, dict) or chunk not in recorded:
        raise DataError(
            f"solver.policy: {config.replayed} has no choices for chunk {chunk}: replay a run "
            "with the same solver and the same number of chunks"
        )
    return Recording.from_json(json.dumps(recorded[chunk]))


def read_choices(path: Path) -> str:
    """Return the recorded selections of all chunks as text.

    Args:
        path: A copy of a run's `choices.json`, or of its dataset.

    Raises:
        DataError: The file is missing or damaged, or is a dataset whose solver was fixed.
    """
    try:
        if not h5py.is_hdf5(path):
            return path.read_text()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    with Dataset(path) as data:
        data.require_unchanged_texts()
        found, grown = data.choices(), data.provenance().earlier
    if grown:
        raise _unreadable(path, "several runs made the dataset, which grew, and none chose for all")
    if found is None:
        raise _unreadable(path, "the dataset has no choices, since its solver was fixed")
    return found


def _unreadable(path: Path, error: object) -> DataError:
    return DataError(
        f"solver.policy: {path} cannot be read: {error}; give the path of a copy of a run's "
        "choices.json, or of its dataset"
    )


def strategy_labels(config: SolverConfig, state: State) -> list[str]:
    """Return the labels of the strategies, and of what takes over, by their numbers in records.

    Args:
        config: The solver's settings.
        state: The solver's state after the last system.
    """
    if isinstance(state, AutomaticState):
        # A family may solve its instances without the solver it is given.
        labels = [strategy.label for strategy in state.strategies] or ["none"]
    else:
        labels = [fixed_solver(config).label]
    return [*labels, FALLBACK]
