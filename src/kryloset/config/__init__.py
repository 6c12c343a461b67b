# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The configuration of a run. It is checked before any work.

`models`, `mesh`, `instances`, `solver` and `training` define the keys with their defaults, bounds
and descriptions, `read` reads them from YAML, and `render` writes the files that document them.
"""

from kryloset.config.instances import InstancesConfig
from kryloset.config.mesh import (
    GridPoints,
    MeshConfig,
    count_points,
    name_points,
    parse_points,
    plain,
    points_of,
)
from kryloset.config.models import (
    FLOAT32_ROUNDING,
    ComparisonConfig,
    Compression,
    Config,
    DatasetConfig,
    Precision,
    RefinementConfig,
    StorageConfig,
)
from kryloset.config.online import OnlineConfig
from kryloset.config.read import (
    describe,
    dump_dataset,
    load_config,
    load_dataset,
    parse_config,
)
from kryloset.config.section import Section
from kryloset.config.solver import SolverConfig
from kryloset.config.training import MACHINE, TrainingConfig, label_of

__all__ = [
    "FLOAT32_ROUNDING",
    "MACHINE",
    "ComparisonConfig",
    "Compression",
    "Config",
    "DatasetConfig",
    "GridPoints",
    "InstancesConfig",
    "MeshConfig",
    "OnlineConfig",
    "Precision",
    "RefinementConfig",
    "Section",
    "SolverConfig",
    "StorageConfig",
    "TrainingConfig",
    "count_points",
    "describe",
    "dump_dataset",
    "label_of",
    "load_config",
    "load_dataset",
    "name_points",
    "parse_config",
    "parse_points",
    "plain",
    "points_of",
]
