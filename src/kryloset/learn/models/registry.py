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

from kryloset.config import Section, describe
from kryloset.errors import ConfigError
from kryloset.extras import advised
from kryloset.problems.checks.own_files import import_file

if TYPE_CHECKING:
    from kryloset.learn.models.base import Network

#: Module and class of each network of the package, by its name. Modules are imported when used.
MODELS = {
    "cgs": ("kryloset.learn.models.graph_solver", "GraphSolver"),
    "deeponet": ("kryloset.learn.models.deeponet", "DeepONet"),
    "fno": ("kryloset.learn.models.fno", "FNO"),
    "gino": ("kryloset.learn.models.gino", "GINO"),
    "transolver": ("kryloset.learn.models.transolver", "Transolver"),
}


def model_class(name: str) -> "type[Network]":
    """Find a network.

    Args:
        name: A key of `MODELS`, or `path/to/file.py:Class`.

    Raises:
        ConfigError: There is no such network, or the file does not define it.
        MissingLibraryError: torch is not installed.
    """
    path, colon, attribute = name.rpartition(":")
    with advised():
        if not colon:
            if name not in MODELS:
                raise ConfigError(
                    f"model {name!r} is unknown: take one of {', '.join(MODELS)}, "
                    "or name a file of your own as path/to/file.py:Class"
                )
            module, attribute = MODELS[name]
            found: type[Network] = getattr(importlib.import_module(module), attribute)
            return found
        from kryloset.learn.models.base import GridModel, PointModel

        candidate = getattr(import_file(Path(path), "model", name), attribute, None)
    if not (isinstance(candidate, type) and issubclass(candidate, GridModel | PointModel)):
        raise ConfigError(
            f"model {name!r}: {path} has no class {attribute!r} that derives from GridModel or "
            "PointModel of kryloset.learn.models.base; see docs/how-to/training.md"
        )
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
        keys = {key: key for key in kind.Settings.model_fields}
        raise ConfigError(describe(error, f"settings of model {name}", keys)) from None
