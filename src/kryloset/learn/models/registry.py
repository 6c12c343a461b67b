# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks by name: those of the package, and those in users' files.

The names are known without torch, which is loaded with the class of a network.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kryloset.config import Config, Section, TrainingConfig, describe, name_points
from kryloset.errors import ConfigError
from kryloset.extras import advised
from kryloset.learn.march import March
from kryloset.learn.residual_fault import find_nodes_fault, find_residual_fault
from kryloset.problems.base import Family
from kryloset.problems.checks.own_files import import_file, source_files
from kryloset.problems.finite_element import SteadyFamily
from kryloset.provenance import closure

if TYPE_CHECKING:
    from kryloset.learn.models.base import Network

#: Module and class of each network of the package, by its name. Modules are imported when used.
MODELS = {
    "cgs": ("kryloset.learn.models.graph_solver", "GraphSolver"),
    "deeponet": ("kryloset.learn.models.deeponet", "DeepONet"),
    "fno": ("kryloset.learn.models.fno", "FNO"),
    "gino": ("kryloset.learn.models.gino", "GINO"),
    "lsm": ("kryloset.learn.models.latent_spectral", "LatentSpectralModel"),
    "stagger": ("kryloset.learn.models.stagger", "NeuralStagger"),
    "tfno": ("kryloset.learn.models.tfno", "TFNO"),
    "transolver": ("kryloset.learn.models.transolver", "Transolver"),
    "ufno": ("kryloset.learn.models.ufno", "UFNO"),
    "unet": ("kryloset.learn.models.unet", "UNet"),
    "uno": ("kryloset.learn.models.uno", "UNO"),
}

#: The module by which a training with residuals opens the equations of a dataset.
EQUATIONS = "kryloset.run.equations"


def model_class(name: str) -> "type[Network]":
    """Find a network.

    Args:
        name: A key of `MODELS`, or `path/to/file.py:Class`.

    Raises:
        ConfigError: There is no such network, or the file does not define it, or not as one.
        MissingLibraryError: torch is not installed.
    """
    path, colon, attribute = name.rpartition(":")
    with advised():
        if not colon:
            _require_known(name)
            module, attribute = MODELS[name]
            found: type[Network] = getattr(importlib.import_module(module), attribute)
            return found
        from kryloset.learn.models.base import GridModel, PointModel
        from kryloset.learn.models.own import require_usable

        candidate = getattr(import_file(Path(path), "model", name), attribute, None)
    if not (isinstance(candidate, type) and issubclass(candidate, GridModel | PointModel)):
        raise ConfigError(
            f"model {name!r}: {path} has no class {attribute!r} that derives from GridModel or "
            "PointModel of kryloset.learn.models.base; see docs/how-to/models.md"
        )
    require_usable(candidate, name)
    return candidate


def read_settings(kind: "type[Network]", name: str, given: Mapping[str, Any]) -> Section:
    """Return the settings of a network.

    Args:
        kind: Its class.
        name: What messages call it.
        given: The settings that differ from the defaults.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    try:
        return kind.Settings.model_validate(given)
    except ValidationError as error:
        told = f"settings of model {name}"
        command = f"kryloset models {name}"
        raise ConfigError(describe(error, told, kind.Settings.model_fields, command)) from None


def model_files(name: str) -> dict[str, Path]:
    """Return the user's file with a network, and the modules beside it that it imports.

    Returns:
        As `source_files`; empty for a network of the package.
    """
    path, colon, _ = name.rpartition(":")
    return source_files(Path(path)) if colon else {}


def model_modules(name: str) -> tuple[str, ...]:
    """Return the modules of the package that define a network, for the identity of the code.

    One that makes others by their names depends on all of them.
    """
    if ":" in name:
        return ()
    module, _ = MODELS[name]
    names_others = __name__ in closure(module)
    return tuple(other for other, _ in MODELS.values()) if names_others else (module,)


def residual_modules(training: TrainingConfig) -> tuple[str, ...]:
    """Return the modules of the package that assemble equations, if a training reads them."""
    return (EQUATIONS,) if training.residual else ()


def check_names(config: Config) -> None:
    """Refuse names of networks that there are not, in any dataset, without loading torch.

    Raises:
        ConfigError: A model or settings have no such name; the message has the key.
    """
    for dataset, settings in config.datasets.items():
        training = settings.training
        for name in training.models:
            try:
                _require_known(name)
            except ConfigError as error:
                raise ConfigError(f"datasets.{dataset}.training: {error}") from None
        for label in training.settings.keys() - training.labels.keys() - MODELS.keys():
            raise ConfigError(
                f"datasets.{dataset}.training.settings.{label}: there is no such model: "
                f"take one of {', '.join(MODELS)}, or the class of one of your own"
            )


def _require_known(name: str) -> None:
    if ":" not in name and name not in MODELS:
        raise ConfigError(
            f"model {name!r} is unknown: take one of {', '.join(MODELS)}, "
            "or name a file of your own as path/to/file.py:Class"
        )


def on_points(kind: "type[Network]") -> bool:
    """Return whether a network takes any points, not only those of a grid."""
    from kryloset.learn.models.base import PointModel

    return issubclass(kind, PointModel)


def check_training(training: TrainingConfig, family: Family) -> None:
    """Refuse networks that there are not, and what they are not able to, before any work.

    Args:
        training: The configuration of trainings.
        family: The family whose instances they learn from.

    Raises:
        ConfigError: As `model_class`, `read_settings` and `March.choose`; or a network should learn
            on meshes, and it is one on grids, or not all fields have values at the same nodes; or
            one that takes a single grid should learn on several, or points of these lie otherwise
            along an axis; or one without second derivatives should be trained by AdaHessian; or
            residuals are asked for, and predictions have none.
        MissingLibraryError: There are settings to check, and torch is not installed.
    """
    march = March.choose(
        family.times, training.window, training.stride, training.bundle, steps=training.steps
    )
    if len(training.grids) > 1:
        _check_points(training, family)
    for label, name in training.labels.items():
        plain = not training.settings.get(label) and not training.residual
        twice = training.optimiser == "adahessian"
        if name in MODELS and plain and training.where != "mesh" and not twice:
            continue  # which needs no torch
        kind = model_class(name)
        kind.check(read_settings(kind, name, training.settings.get(label, {})), march)
        if twice and not kind.second_derivative:
            raise ConfigError(
                f"training.optimiser: adahessian differentiates twice, and model {name!r} has no "
                "second derivative: take another optimiser, or another model"
            )
        if len(training.grids) > 1 and not kind.any_grid:
            raise ConfigError(
                f"training.grids: model {name!r} takes one grid alone (any_grid = False): name one"
            )
        if training.where == "mesh" and not on_points(kind):
            raise ConfigError(
                f"training.where: model {name!r} learns on grids alone: take `auto` or `grid`, or "
                "a model on points, as `kryloset models` tells"
            )
        if training.where == "mesh" and (fault := find_nodes_fault(family)):
            raise ConfigError(f"training.where: {fault}: take `auto` or `grid`")
        if training.residual:
            _check_residual(training, family, at_nodes=_learns_at_nodes(training, kind, family))


def _check_points(training: TrainingConfig, family: Family) -> None:
    """Refuse grids of which some are equidistant and some are not, as the pairs on them do.

    Raises:
        ConfigError: There are such.
        MissingLibraryError: torch is not installed.
    """
    with advised():
        from kryloset.learn.models.base import Task, divides_alike

    found = {}
    for points in training.grids:
        further = family.mesh.find_grid(points)
        lines = family.coordinates if further is None else family.further_grid(further)
        found[name_points(points)] = tuple(lines.values())
    (first, coordinates), *others = found.items()
    periodic = tuple(map(family.is_periodic, family.coordinates))
    task = Task((), (), coordinates, periodic, len(periodic))
    for name, there in others:
        if not divides_alike(task, there):
            raise ConfigError(
                f"training.grids: points of {name} and of {first} lie otherwise along an axis, as "
                "equidistant and Chebyshev points do: leave out one of both"
            )


def _learns_at_nodes(training: TrainingConfig, kind: "type[Network]", family: Family) -> bool:
    """Return where a network will learn (`find_place`), before there is a dataset."""
    if training.where != "auto" or training.grids or not on_points(kind):
        return training.where == "mesh"
    own = f"{family.fields[0].name}_dofs" in {variable.name for variable in family.unknowns}
    return own and not find_nodes_fault(family)


def _check_residual(training: TrainingConfig, family: Family, *, at_nodes: bool) -> None:
    """Refuse residuals that are not known.

    Raises:
        ConfigError: They are not known, or cannot be differentiated twice.
    """
    if fault := find_residual_fault(family, at_nodes=at_nodes):
        raise ConfigError(f"training.residual: {fault}; take 0")
    if training.optimiser == "adahessian" and not isinstance(family, SteadyFamily):
        raise ConfigError(
            "training.residual: adahessian differentiates twice, which is possible where an "
            "instance is one linear system; take another optimiser, or 0"
        )
