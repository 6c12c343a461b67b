# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Families by name: those of the package, and those in users' files."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kryloset.config import (
    Config,
    DatasetConfig,
    InstancesConfig,
    MeshConfig,
    SolverConfig,
    describe,
    plain,
)
from kryloset.errors import ConfigError
from kryloset.krylov.names import check_available, check_fit
from kryloset.problems.base import Family
from kryloset.problems.checks.declarations import check_class, check_declarations
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.checks.own_files import import_file, source_files
from kryloset.problems.checks.periodic import check_periodic
from kryloset.problems.finite_element import EvolutionFamily, FiniteElementFamily
from kryloset.problems.lattice import check_lattice, spacings_along
from kryloset.problems.refinable import require_refinable

#: Module and class of each family of the package, by its name. Modules are imported when used.
FAMILIES = {
    "darcy": ("kryloset.problems.darcy", "Darcy"),
    "poisson": ("kryloset.problems.poisson", "Poisson"),
    "neumann_poisson": ("kryloset.problems.neumann_poisson", "NeumannPoisson"),
    "elasticity": ("kryloset.problems.elasticity", "Elasticity"),
    "incompressible_elasticity": ("kryloset.problems.elasticity", "IncompressibleElasticity"),
    "maxwell": ("kryloset.problems.maxwell", "Maxwell"),
    "thermal": ("kryloset.problems.thermal", "Thermal"),
    "advection_diffusion": ("kryloset.problems.advection_diffusion", "AdvectionDiffusion"),
    "helmholtz": ("kryloset.problems.helmholtz", "Helmholtz"),
    "helmholtz_absorbing": ("kryloset.problems.helmholtz", "HelmholtzAbsorbing"),
    "heat": ("kryloset.problems.heat", "Heat"),
    "reaction_diffusion": ("kryloset.problems.reaction_diffusion", "ReactionDiffusion"),
    "navier_stokes": ("kryloset.problems.navier_stokes", "NavierStokes"),
    "kuramoto_sivashinsky": (
        "kryloset.problems.kuramoto_sivashinsky",
        "KuramotoSivashinsky",
    ),
}


def family_files(dataset: DatasetConfig) -> dict[str, Path]:
    """Return the user's file with a dataset's family, and the modules beside it that it imports.

    Returns:
        As `source_files`; empty for a family of the package.
    """
    path, colon, _ = dataset.family.rpartition(":")
    return source_files(Path(path)) if colon else {}


def family_class(name: str) -> type[Family]:
    """Find a family.

    Args:
        name: A key of `FAMILIES`, or `path/to/file.py:Class`.

    Raises:
        ConfigError: There is no such family, or the file does not define it.
    """
    path, colon, attribute = name.rpartition(":")
    if not colon:
        if name not in FAMILIES:
            raise ConfigError(
                f"family {name!r} is unknown: take one of {', '.join(FAMILIES)}, "
                "or name a file of your own as path/to/file.py:Class"
            )
        module, attribute = FAMILIES[name]
        found: type[Family] = getattr(importlib.import_module(module), attribute)
        return found
    candidate = getattr(import_file(Path(path), "family", name), attribute, None)
    if not (isinstance(candidate, type) and issubclass(candidate, Family)):
        raise ConfigError(
            f"family {name!r}: {path} has no class {attribute!r} that derives from "
            "kryloset.problems.Family; see docs/how-to/family.md"
        )
    check_class(candidate, name)
    return candidate


def load_family(dataset: DatasetConfig) -> Family:
    """Make the family of a dataset from its configuration.

    Raises:
        ConfigError: The family or one of its settings is not valid.
    """
    family = make_family(
        family_class(dataset.family), dataset.family, dataset.parameters, dataset.mesh,
        dataset.instances,
    )  # fmt: skip
    check_solver(family, dataset.family, dataset.solver)
    if dataset.refinement.instances:
        require_refinable(family)
    return family


def make_family(
    kind: type[Family],
    name: str,
    parameters: Mapping[str, Any],
    mesh: MeshConfig,
    instances: InstancesConfig | None = None,
) -> Family:
    """Make a family from its class.

    Args:
        kind: The class.
        name: What messages call it.
        parameters: Its own settings by name.
        mesh: Grid and elements.
        instances: The file of parameters that are not drawn, if there is one.

    Raises:
        ConfigError: A setting is wrong, or settings and mesh do not fit together.
        FamilyError: The class declares something that no file could hold.
    """
    _check_mesh(kind, name, mesh)
    with blamed(kind):
        try:
            settings = kind.Settings.model_validate(parameters)
        except ValidationError as error:
            command = f"kryloset families {name}"
            told = describe(
                error, f"parameters of family {name}", kind.Settings.model_fields, command
            )
            raise ConfigError(told) from None
        family = kind(settings, mesh)
    check_declarations(family, name)
    if isinstance(family, FiniteElementFamily) and (mesh.sides or mesh.spacing != "equidistant"):
        check_lattice(mesh, family.sides)
    check_periodic(family, name)
    if instances is not None and instances.file is not None:
        # Until the file was looked at, it may have all parameters.
        all_ = [variable.name for variable in family.parameters]
        family.given = instances.names if instances.names and instances.sha256 else all_
    with blamed(family, "check"):
        family.check()
    return family


def _check_mesh(kind: type[Family], name: str, mesh: MeshConfig) -> None:
    """Refuse keys of the mesh that do not suit the family, before it is made.

    Raises:
        ConfigError: It has no such dimension, is not written for a key, or a key has not one entry
            for each axis.
    """
    if mesh.dimension is not None and mesh.dimension not in kind.dimensions:
        raise ConfigError(
            f"mesh.dimension {mesh.dimension}: family {name!r} is written for "
            f"{' and '.join(map(str, kind.dimensions))} space dimensions"
        )
    dimension = mesh.dimension or kind.dimensions[0]
    several: dict[str, tuple[Any, str]] = {
        "points": (mesh.points, "takes one number of points for all axes: give one"),
        "sides": (mesh.sides, "determines its domain itself: remove the key"),
        "spacing": (mesh.spacing, "is written for equidistant points: remove the key"),
    }
    for key, (given, reason) in several.items():
        default = isinstance(given, int) or given is None or given == "equidistant"
        if not default and key not in kind.mesh_keys:
            raise ConfigError(
                f"mesh.{key} {plain(given)}: family {name!r} {reason}. A family of your own that "
                f"is written for it has {key!r} among its `mesh_keys`"
            )
    steady = issubclass(kind, FiniteElementFamily) and not issubclass(kind, EvolutionFamily)
    if mesh.nodal_parameters and not steady:
        raise ConfigError(
            f"mesh.nodal_parameters: family {name!r} has time steps or a discretisation of its "
            "own, whose parameters are stored on the grid alone: remove the key"
        )
    entries: list[tuple[str, Any]] = [("points", mesh.points), ("sides", mesh.sides)]
    entries += [("spacing", spacings_along(mesh, dimension)), *(("grids", g) for g in mesh.grids)]
    for key, given in entries:
        if isinstance(given, tuple) and len(given) != dimension:
            raise ConfigError(
                f"mesh.{key} {plain(given)} has {len(given)} entries: family {name!r} has "
                f"{dimension} space dimensions, so give one for each axis"
            )


def check_solver(family: Family, name: str, solver: SolverConfig) -> None:
    """Refuse a solver that does not suit the family's operator.

    Args:
        family: The family.
        name: What messages call it.
        solver: The solver.

    Raises:
        ConfigError: The operator is not what the method or the preconditioner needs.
    """
    operator = family.operator
    try:
        check_fit(
            method=solver.method,
            preconditioner=solver.preconditioner,
            symmetric=operator.symmetric,
            definite=operator.definite,
            saddle_point=operator.saddle_point,
            singular=operator.nullspace != "none",
            lanes=solver.width,
        )
    except ValueError as error:
        raise ConfigError(f"solver.{error} (as family {name!r} declares its operator)") from None
    try:
        check_available(solver.method)
    except ValueError as error:
        raise ConfigError(f"solver.{error}") from None


def resolve_families(config: Config) -> Config:
    """Load the family of every dataset and fill in the defaults of its settings.

    The result is complete, so that it means the same after a later version changes a default.

    Raises:
        ConfigError: As `load_family`, with the dataset's key; or the recorded selection that
            a dataset's solver replays does not exist.
    """
    datasets = {}
    for name, dataset in config.datasets.items():
        try:
            settings = load_family(dataset).settings
        except ConfigError as error:
            raise ConfigError(f"datasets.{name}: {error}") from error
        replayed = dataset.solver.replayed
        if replayed is not None and not replayed.is_file():
            raise ConfigError(
                f"datasets.{name}.solver.policy: there is no file {replayed} to replay; name the "
                "copy of a run's choices.json, relative to the working directory"
            )
        parameters = settings.model_dump(mode="json")
        datasets[name] = dataset.model_copy(update={"parameters": parameters})
    return config.model_copy(update={"datasets": datasets})
