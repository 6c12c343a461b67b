# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The names of the formats, and the modules that know them."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from kryloset.errors import ConfigError
from kryloset.export.base import Format

#: Name -> module of this package and class. A module imports the library of its format, so it is
#: imported only when a dataset is exported to that format.
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "well": "well:Well",
        "neuraloperator": "neuraloperator:NeuralOperator",
        "deepxde": "deepxde:DeepXDE",
        "pdebench": "pdebench:PDEBench",
        "zarr": "zarr_store:Zarr",
        "vtk": "vtk:VTK",
        "huggingface": "huggingface:HuggingFace",
        "netcdf": "netcdf:NetCDF",
    }
)


def load_format(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ConfigError: There is no format of that name.
        ModuleNotFoundError: The library of the format is not installed.
    """
    if name not in FORMATS:
        raise ConfigError(f"--to {name}: there is no such format; take one of {', '.join(FORMATS)}")
    module, _, kind = FORMATS[name].partition(":")
    made: Format = getattr(importlib.import_module(f"{__package__}.{module}"), kind)()
    return made
