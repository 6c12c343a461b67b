# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of the stages before `merge`, made in milliseconds by a family without a PDE."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.problems import Family, load_family
from kryloset.stages import merge, sample, sort

FAMILY = f"{Path(__file__).parent / 'pointwise.py'}:Pointwise{{}}"
COUNTS = ("iterations", "operator_applications", "preconditioner_applications")


@dataclass(frozen=True)
class Run:
    """The folder of a run, up to its chunks' files."""

    folder: Path
    config: DatasetConfig
    name: str = "division"

    @property
    def family(self) -> Family:
        """The family of the configuration."""
        return load_family(self.config)

    @property
    def chunks(self) -> list[Path]:
        """The chunks' files."""
        return sorted((self.folder / "chunks").iterdir())

    def prepare(self) -> "Run":
        """Draw, sort and solve."""
        sample.run(self.config, self.name, output=self.folder / "parameters.h5")
        parameters, order = self.folder / "parameters.h5", self.folder / "order.h5"
        sort.run(self.config, self.name, parameters=parameters, output=order)
        with h5py.File(order) as file:
            permutation, bounds = file["permutation"][:], file["bounds"][:]
        (self.folder / "chunks").mkdir()
        for i in range(self.config.chunks):
            self.solve_chunk(i, permutation[bounds[i] : bounds[i + 1]])
        return self

    def solve_chunk(self, number: int, instances: np.ndarray) -> Path:
        """Write a chunk's file, each quantity a function of the instance's number."""
        path = self.folder / "chunks" / f"{number + 1}-of-{self.config.chunks}.h5"
        discretisation = self.family.discretise(None)
        with h5py.File(self.folder / "parameters.h5") as file:
            drawn = {name: array[:] for name, array in file["parameters"].items()}
        with h5py.File(path, "w") as file:
            file.attrs["config"] = dump_dataset(self.name, self.config)
            file.attrs["code"] = f"solved-{number}"
            file["instance"] = instances
            parameters = [{name: a[i] for name, a in drawn.items()} for i in instances]
            u = np.stack([discretisation.solve(p, None)["u"] for p in parameters])
            file["fields/u"] = u
            file.attrs["ways"] = json.dumps(["cg + icc"])
            file["solver/way"] = np.zeros_like(instances)
            for key in (*COUNTS, "systems", "escalations", "reason"):
                file[f"solver/{key}"] = instances + 1
            file["solver/predecessor"] = np.concatenate([[-1], instances[:-1]])
            file["solver/true_residual"] = 1e-12 * (instances + 1.0)
            for key in ("assemble", "setup", "rebuild", "iterate"):
                file[f"seconds/{key}"] = instances / 10
        return path

    def merge(self, output: str = "dataset.h5", chunks: list[Path] | None = None) -> Path:
        """Merge the chunks."""
        merge.run(
            self.config,
            self.name,
            parameters=self.folder / "parameters.h5",
            order=self.folder / "order.h5",
            chunks=self.chunks if chunks is None else chunks,
            output=self.folder / output,
            timings=self.folder / "timings.json",
            choices=self.folder / "choices.json",
        )
        return self.folder / output


def make_run(folder: Path, dimensions: int = 2, **settings) -> Run:
    family = FAMILY.format(dimensions)
    defaults = {"family": family, "count": 12, "chunks": 3, "seed": 7, "mesh": {"points": 5}}
    config = DatasetConfig(**defaults | settings)
    return Run(folder, config).prepare()
