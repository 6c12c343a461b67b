# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family of PDE instances with its settings, and the instances that it draws."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import xarray
from pydantic import BaseModel, ValidationError

from kryloset.config import DatasetConfig, MeshConfig, SolverConfig, describe
from kryloset.errors import ConfigError
from kryloset.extras import advised
from kryloset.library.labels import join_parameters, label
from kryloset.problems.base import Family, Variable
from kryloset.problems.catalogue import describe_settings, describe_variables
from kryloset.problems.checks.declarations import check_class
from kryloset.problems.checks.periodic import describe_equation
from kryloset.problems.registry import family_class, make_family
from kryloset.run.draw import draw_instances


class ConfiguredFamily:
    """A family with its settings; `kryloset.family` makes it.

    `help(family)` says what it draws and solves for, and lists its settings.

    Attributes:
        name: The name by which it was requested.
        problem: The family itself, as the workflow uses it.
    """

    def __init__(self, name: str, problem: Family) -> None:
        """Keep the family, and describe it."""
        self.name = name
        self.problem = problem
        self.__doc__ = self._describe()

    def draw(self, count: int, seed: int = 0) -> xarray.Dataset:
        """Draw instances.

        Instance i is drawn from (seed, i) and nothing else: the numbers are, bit for bit, those
        that the workflow draws with the same settings and seed.

        Args:
            count: Number of instances, at least one.
            seed: Seed, from 0 to 2^64 - 1.

        Returns:
            The parameters by name, float64, along the dimensions `sample` (the number of the
            instance) and the axes of the grid, with coordinates, units and long names.

        Raises:
            ConfigError: `count` or `seed` is out of range.
            DataError: What was drawn is not an instance of the problem; the message has its number.
            FamilyError: The family's `draw` has a mistake.
        """
        config = self.configuration(count=count, seed=seed)
        instances = draw_instances(self.problem, config.seed, config.count)
        tree = label(config, self.problem, range(config.count), instances)
        drawn = join_parameters(tree, self.problem)
        return drawn.assign_attrs(
            title=self.problem.summary, equation=describe_equation(self.problem), seed=config.seed
        )

    def configuration(self, **keys: Any) -> DatasetConfig:
        """Return the configuration of a dataset of this family in one chunk.

        Args:
            keys: Keys of a dataset, as in config/config.yaml.

        Raises:
            ConfigError: One of them is wrong.
        """
        try:
            return DatasetConfig(
                family=self.name,
                parameters=self.problem.settings.model_dump(mode="json"),
                mesh=self.problem.mesh,
                chunks=1,
                splits={"train": 1.0},
                **keys,
            )
        except ValidationError as error:
            # Only keys that `kryloset.solve` takes may be meant.
            known = ["sort", "features", *(f"solver.{key}" for key in SolverConfig.model_fields)]
            raise ConfigError(describe(error, f"family {self.name}", known)) from None

    def __repr__(self) -> str:
        """Return the call that makes it: its name, and the settings that are not the defaults."""
        problem = self.problem
        changed = [*_changed(problem.mesh), *_changed(problem.settings)]
        settings = "".join(f", {key}={value!r}" for key, value in changed)
        draws = ", ".join(map(_in_short, problem.parameters))
        fields = ", ".join(map(_in_short, problem.fields))
        return (
            f"kryloset.family({self.name!r}{settings})\n"
            f"  {describe_equation(problem)}\n"
            f"  draws {draws}; solves for {fields}"
        )

    def _describe(self) -> str:
        problem = self.problem
        lines = [
            problem.summary, "", f"  {describe_equation(problem)}", "",
            *describe_variables(problem), "", "Settings of the family, with their values:",
            *describe_settings(problem.settings), "", "Settings of the grid, with their values:",
            *describe_settings(problem.mesh), "",
            "family.draw(count, seed=0) draws instances; kryloset.solve(family, instances) "
            "solves them.",
        ]  # fmt: skip
        return "\n".join(lines)


def family(name: str | type[Family], **settings: Any) -> ConfiguredFamily:
    """Return a family of PDE instances.

    Args:
        name: A family that `kryloset families` lists, such as "darcy"; a file of your own, as
            "path/to/file.py:Class"; or a class that derives from `kryloset.problems.Family`.
        settings: Those of the family, and those of the grid: points, sides, spacing, degree,
            periodic, dimension, grids, nodal_parameters.
            `help(kryloset.family("darcy"))` lists them with units and defaults.

    Returns:
        The family, which draws instances: `family.draw(count=100, seed=0)`.

    Raises:
        ConfigError: There is no such family or setting, or a value is not allowed; the message
            says which are.
        FamilyError: The class lacks something that every family has.
    """
    if isinstance(name, str):
        with advised():
            kind = family_class(name)
    else:
        kind, name = name, getattr(name, "__name__", repr(name))
        if not (isinstance(kind, type) and issubclass(kind, Family)):
            raise ConfigError(
                f"family {name} is neither a name nor a class that derives from "
                "kryloset.problems.Family: take a name such as 'darcy', or see "
                "docs/how-to/family.md"
            )
        check_class(kind, name)
    own, mesh = kind.Settings.model_fields, MeshConfig.model_fields
    _require_known(name, settings, own, mesh)
    try:
        grid = MeshConfig(**{key: value for key, value in settings.items() if key in mesh})
    except ValidationError as error:
        raise ConfigError(describe(error, f"the grid of family {name}", mesh)) from None
    parameters = {key: value for key, value in settings.items() if key in own}
    return ConfiguredFamily(name, make_family(kind, name, parameters, grid))


def _require_known(
    name: str, settings: Mapping[str, Any], own: Iterable[str], mesh: Iterable[str]
) -> None:
    """Refuse settings that the family does not have, and those that it shares with the grid."""
    shared = [key for key in own if key in mesh]
    if shared:
        raise ConfigError(
            f"family {name}: its setting {shared[0]!r} has the name of a setting of the grid: "
            "rename it"
        )
    for key in settings:
        if key in own or key in mesh:
            continue
        near = difflib.get_close_matches(key, [*own, *mesh], n=1)
        meant = f", is {near[0]!r} meant?" if near else "."
        raise ConfigError(
            f"family {name} has no setting {key!r}{meant} Its settings are {', '.join(own)}; "
            f"those of the grid are {', '.join(mesh)}"
        )


def _changed(section: BaseModel) -> list[tuple[str, Any]]:
    """Return the settings whose values are not the defaults."""
    fields = type(section).model_fields
    return [
        (key, value)
        for key, value in section
        if value != fields[key].get_default(call_default_factory=True)
    ]


def _in_short(variable: Variable) -> str:
    axes = f"({', '.join(variable.axes)})" if variable.axes else ""
    units = "" if variable.units == "1" else f" [{variable.units}]"
    return f"{variable.long_name} {variable.name}{axes}{units}"
