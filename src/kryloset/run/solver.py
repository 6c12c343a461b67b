# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The solver that a configuration asks for, for the matrices that a family declares."""

from kryloset.config import SolverConfig
from kryloset.krylov import Automatic, Recording, SequenceSolver, Structure
from kryloset.problems import Family


def fixed_solver(config: SolverConfig) -> SequenceSolver:
    """Return the solver with the configured numbers; for `auto` that with GCRO-DR."""
    numbers = config.model_dump(exclude={"policy"})
    if config.method == "auto":
        numbers |= {"method": "gcrodr", "refresh": "always"}
    return SequenceSolver(**numbers)


def make_solver(
    config: SolverConfig, family: Family, replay: Recording | None = None
) -> SequenceSolver | Automatic:
    """Return the configured solver.

    Args:
        config: Where nothing is chosen, neither way nor refreshes, the plain method.
        family: Declares the operator.
        replay: Choices to follow.
    """
    if not config.chooses:
        return fixed_solver(config)
    ways = () if config.method == "auto" else (fixed_solver(config),)
    return Automatic(
        config.tolerance, config.max_iterations, declared_structure(family), ways, replay
    )


def declared_structure(family: Family) -> Structure:
    """Return what a family declares of its matrices, as the solvers name it."""
    operator = family.operator
    return Structure(
        symmetric=operator.symmetric,
        definite=operator.symmetric and operator.definite,
        # Time steps share the matrix of their instance.
        constant=operator.constant or family.times is not None,
        saddle_point=operator.saddle_point,
        singular=operator.nullspace != "none",
    )
