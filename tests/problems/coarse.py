# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The small datasets of config/families, on meshes that are coarser still."""

from pathlib import Path

from kryloset.config import DatasetConfig, load_dataset
from kryloset.errors import ConfigError
from kryloset.problems import Family, load_family

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "config/families").glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]

#: Points a side on which matrices are small enough for dense algebra, the first that fits.
COARSE = (9, 17, 33)


def dataset(name: str) -> DatasetConfig:
    """Return the configuration of a small dataset."""
    return load_dataset(ROOT / f"config/families/{name}.yaml", name)


def coarse_family(name: str) -> Family:
    """Return a family of a small dataset on the coarsest mesh that its settings allow.

    It has a further grid, every second point of its own.
    """
    config = dataset(name)
    for points in COARSE:
        mesh = config.mesh.model_copy(update={"points": points, "grids": ((points + 1) // 2,)})
        try:
            return load_family(config.model_copy(update={"mesh": mesh}))
        except ConfigError:
            continue
    return load_family(config)
