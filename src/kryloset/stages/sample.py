# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw the parameters of every instance."""

from pathlib import Path

import numpy as np

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.layout import require_storable
from kryloset.dataset.staged import create_staged
from kryloset.errors import DataError
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.sampling import generator


def run(config: DatasetConfig, name: str, *, output: Path) -> None:
    """Draw `config.count` instances, each from (seed, index) alone.

    Writes `/parameters/<name>` with the instances along the first axis, float64.

    Args:
        config: The dataset.
        name: Its name.
        output: The file to write, `parameters.h5`.

    Raises:
        ConfigError: The family or its settings are wrong.
        DataError: The family drew something that is not finite, or of changing shape, or
            that is no instance; or it has variables that cannot be stored.
    """
    family = load_family(config)
    require_storable(family)
    shapes: dict[str, tuple[int, ...]] = {}
    with create_staged(output) as file:
        file.attrs["config"] = dump_dataset(name, config)
        file.attrs["code"] = stage_identity("sample", config)
        for index in track(range(config.count), "drawing instances"):
            try:
                instance = family.draw(generator(config.seed, index))
            except DataError as error:
                raise DataError(f"instance {index}: {error}") from error
            for variable in family.parameters:
                if variable.name not in instance:
                    raise DataError(
                        f"instance {index}: `draw` of family {config.family} returned no "
                        f"{variable.name!r}, which its `parameters` name"
                    )
                values = np.asarray(instance[variable.name], dtype=np.float64)
                if not np.isfinite(values).all():
                    raise DataError(
                        f"instance {index}: parameter {variable.name!r} is not finite; mend "
                        f"`draw` of family {config.family} or its settings"
                    )
                shape = shapes.setdefault(variable.name, values.shape)
                if values.shape != shape:
                    raise DataError(
                        f"instance {index}: parameter {variable.name!r} has shape {values.shape}, "
                        f"instance 0 has {shape}"
                    )
                file.row(f"parameters/{variable.name}", values, config.count)
