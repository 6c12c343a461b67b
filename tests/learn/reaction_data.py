# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A small dataset file of a real problem, written as the pipeline writes it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import SOLVER, grid_group
from kryloset.dataset.writer import write_dataset
from kryloset.problems import load_family
from kryloset.sampling import generator


@dataclass(frozen=True)
class Data:
    """A dataset file, its configuration and its contents."""

    path: Path
    config: DatasetConfig
    parameters: list[dict[str, np.ndarray]]
    solutions: list[np.ndarray]


def family_of(name: str) -> str:
    """Return a family of `reaction.py` as a configuration has it."""
    return f"{Path(__file__).parent / 'reaction.py'}:{name}"


def make_data(path: Path, masks: list[np.ndarray] | None = None, **settings) -> Data:
    """Make the file; `masks` mark the points in the domain of each instance.

    Functions on further grids are interpolated linearly.
    """
    config = DatasetConfig.model_validate(
        {
            "family": family_of("Reaction"),
            "count": 40,
            "mesh": {"points": 9},
            "splits": {"train": 0.6, "valid": 0.2, "test": 0.2},
            "training": {
                "epochs": 4,
                "batch_size": 7,
                "settings": {"fno": {"width": 6, "modes": 6, "layers": 2}},
            },
        }
        | settings
    )
    family = load_family(config)
    parameters = [family.draw(generator(config.seed, i)) for i in range(config.count)]
    solutions = [family.solve(**p) for p in parameters]
    instances = [p | {"u": u} for p, u in zip(parameters, solutions, strict=True)]
    for points in config.mesh.grids:
        lines = np.meshgrid(*family.further_grid(points).values(), indexing="ij")
        for instance in instances:
            for variable in (*family.parameters, *family.fields):
                if variable.axes == tuple(family.coordinates):
                    values = RegularGridInterpolator(
                        tuple(family.coordinates.values()), instance[variable.name]
                    )
                    instance[f"{grid_group(points)}/{variable.name}"] = values(tuple(lines))
    shared = {}
    if masks is not None:
        for instance, mask in zip(instances, masks, strict=True):
            instance["u"] = np.where(mask, instance["u"], np.nan)
        if all(np.array_equal(mask, masks[0]) for mask in masks):
            shared["inside"] = masks[0].astype(np.int8)
        else:
            instances = [
                i | {"inside": m.astype(np.int8)} for i, m in zip(instances, masks, strict=True)
            ]
    write_dataset(
        path,
        "reaction",
        config,
        family,
        instances,
        {key: np.zeros(config.count) for key in SOLVER},
        {1: "converged"},
        {},
        "",
        masks=shared,
    )
    return Data(path, config, parameters, solutions)
