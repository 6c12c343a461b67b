# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datasets of all families with four instances on coarse meshes, written in a moment."""

from pathlib import Path

from mpi4py import MPI

import numpy as np

from directly import SolveDirectly
from documentation import ROOT
from kryloset.config import DatasetConfig, load_dataset
from kryloset.dataset.layout import SOLVER, grid_group
from kryloset.dataset.writer import write_dataset
from kryloset.errors import ConfigError
from kryloset.problems import load_family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.sampling import generator

#: Small datasets of every family, in all its dimensions.
NAMES = sorted(
    {path.stem for path in (ROOT / "config/families").glob("*.yaml")}
    - {"darcy_high_contrast", "darcy_two_valued"}
)
#: Points a side, the first that the settings allow.
POINTS = (9, 17, 33, 49, 129)
STEPS = 3


def small_config(name: str, **changes) -> DatasetConfig:
    """Return a small dataset's configuration, coarser still, with a few time steps."""
    tree = load_dataset(ROOT / f"config/families/{name}.yaml", name).model_dump(mode="json")
    steps = tree["parameters"].get("steps")
    if steps:
        final = tree["parameters"]["final_time"] * STEPS / steps
        tree["parameters"] |= {"steps": STEPS, "final_time": final}
    if "modes" in tree["parameters"]:
        tree["parameters"]["modes"] = 8
    tree |= {"count": 4, "splits": {"train": 0.5, "test": 0.5}}
    for points in POINTS:
        tree["mesh"] |= {"points": points, "grids": [5]}
        config = DatasetConfig.model_validate(tree | changes)
        try:
            load_family(config)
        except ConfigError:
            continue
        return config
    raise AssertionError(name)


def make_small(path: Path, name: str, **changes) -> Path:
    """Draw, solve and write a small dataset."""
    config = small_config(name, **changes)
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = []
    for number in range(config.count):
        drawn = family.draw(generator(config.seed, number))
        (solution,) = discretisation.solve([drawn], SolveDirectly())
        rows = {**drawn, **solution}
        for points in config.mesh.grids:
            found = discretisation.resample(points, drawn, solution)
            rows |= {f"{grid_group(points)}/{key}": values for key, values in found.items()}
        instances.append(rows)
    masks = {
        INSIDE.name if points is None else f"{grid_group(points)}/{INSIDE.name}": mask
        for points, mask in discretisation.masks().items()
    }
    write_dataset(
        path, name, config, family, instances, {key: np.zeros(config.count) for key in SOLVER},
        {0: "converged"}, {}, "", meshes=discretisation.meshes(), masks=masks,
    )  # fmt: skip
    return path
