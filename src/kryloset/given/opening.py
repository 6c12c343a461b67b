# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opens the file of a dataset's given parameters, and completes the configuration from it.

What reads files is imported here where there is one, since most datasets have none.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from kryloset.config import Config, DatasetConfig, load_dataset
from kryloset.errors import ConfigError, KrylosetError
from kryloset.problems import Family, load_family, resolve_families
from kryloset.problems.populations import load_populations

if TYPE_CHECKING:
    from kryloset.given.parameters import GivenParameters


def open_parameters(config: DatasetConfig, family: Family) -> "GivenParameters | None":
    """Return the parameters that a dataset takes from a file; None if it draws all.

    Args:
        config: The dataset, as `resolve` returned it.
        family: Its family.

    Raises:
        ConfigError: The configuration lacks the digest of the file.
        DataError: As `GivenParameters`.
    """
    if config.instances.file is None:
        return None
    if config.instances.sha256 is None:
        raise ConfigError(
            "instances.sha256 is missing: `kryloset config` prints a configuration that has it"
        )
    from kryloset.given.parameters import GivenParameters

    return GivenParameters(config, family)


def resolve(dataset: DatasetConfig) -> DatasetConfig:
    """Return a dataset whose `instances` say all that decides what is read.

    Raises:
        ConfigError: As `GivenParameters.complete`.
        DataError: As `GivenParameters`.
    """
    if dataset.instances.file is None:
        return dataset
    from kryloset.given.parameters import GivenParameters

    complete = GivenParameters(dataset, load_family(dataset)).complete()
    load_family(complete)  # Its settings must fit what is still drawn.
    return complete


def load_resolved(path: Path, name: str) -> DatasetConfig:
    """Read one dataset of a YAML file, as `load_dataset`; complete its `instances` if they are not.

    Raises:
        ConfigError: As `load_dataset` and `resolve`.
        DataError: As `resolve`.
    """
    dataset = load_dataset(path, name)
    return dataset if dataset.instances.sha256 else resolve(dataset)


def resolve_config(config: Config) -> Config:
    """Return a complete configuration: settings of families, names and digests of files.

    It means the same after a later version changes a default, or somebody a file.

    Raises:
        ConfigError: As `resolve_families` and `load_populations`; or what `resolve` says of a
            file, with the dataset's key.
    """
    config = resolve_families(config)
    datasets = {}
    for name, dataset in config.datasets.items():
        try:
            datasets[name] = resolve(dataset)
        except KrylosetError as error:
            raise ConfigError(f"datasets.{name}.instances: {error}") from error
        try:
            load_populations(dataset)
        except ConfigError as error:
            raise ConfigError(f"datasets.{name}.{error}") from error
    return config.model_copy(update={"datasets": datasets})
