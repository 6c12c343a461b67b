# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of the stages before `merge`, which a family without a PDE makes in milliseconds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from resealing import seal_again

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.encoding import Storage
from kryloset.dataset.journal import Journal
from kryloset.dataset.staged import StagedFile
from kryloset.problems import Family, load_family
from kryloset.problems.populations import Population
from kryloset.run import sort
from kryloset.run.draw import Drawn
from merging import merge_verified

FAMILY = f"{Path(__file__).parent / 'pointwise.py'}:Pointwise{{}}"
COUNTS = (
    "iterations", "operator_applications", "preconditioner_applications", "systems", "escalations",
)  # fmt: skip
PARTS = ("assemble", "setup", "rebuild", "iterate")


@dataclass(frozen=True)
class Run:
    """The folder of a run with all files up to the chunks."""

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

    @property
    def whole(self) -> Path:
        """The dataset, where a fixture provides it."""
        return self.folder / "whole/dataset.h5"

    def prepare(self) -> "Run":
        """Draw, sort and solve."""
        order = self.folder / "order.h5"
        sort.run(self.config, self.name, output=order)
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
        with StagedFile(self.folder / "order.h5") as file:
            digest = file.seal("drawn")
        parameters = Drawn([Population(self.family)], self.config.seed).instances(instances)
        columns = {
            "instance": instances,
            "solver/way": np.zeros_like(instances),
            "solver/reason": np.ones_like(instances),
            "solver/predecessor": np.concatenate([[-1], instances[:-1]]),
            "solver/true_residual": 1e-12 * (instances + 1.0),
        }
        columns |= {f"solver/{key}": instances + 1 for key in COUNTS}
        columns |= {f"seconds/{key}": instances / 10 for key in PARTS}
        columns["parameters/nu"] = np.stack([instance["nu"] for instance in parameters])
        with Journal(path.with_name("working"), "work", len(instances)) as journal:
            for instance in parameters:
                (solution,) = discretisation.solve([instance], None)
                rows = {f"parameters/{name}": instance[name] for name in ("k", "profile")}
                rows["fields/u"] = solution["u"][np.newaxis]
                journal.append({k: Storage.of(v).encode([v]) for k, v in rows.items()}, 1)
            with journal.finish(path) as file:
                file.describe(
                    {
                        "config": dump_dataset(self.name, self.config),
                        "code": f"solved-{number}",
                        "drawn": digest,
                        "ways": json.dumps(["cg + icc"]),
                        "petsc": "3.25.1",
                    }
                )
                for key, column in columns.items():
                    file.array(key, column)
            journal.discard()
        return path

    def merge(self, output: str = "dataset.h5", chunks: list[Path] | None = None) -> Path:
        """Verify the chunks and merge them."""
        return merge_verified(
            self.config,
            self.name,
            order=self.folder / "order.h5",
            chunks=self.chunks if chunks is None else chunks,
            output=self.folder / output,
        )


@contextmanager
def changed(path: Path) -> Iterator[h5py.File]:
    """Change a file of a stage and recompute its digests, as if the stage had written it."""
    with h5py.File(path, "r+") as file:
        yield file
    seal_again(path)


def make_run(folder: Path, dimensions: int = 2, **settings) -> Run:
    family = FAMILY.format(dimensions)
    defaults = {"family": family, "count": 12, "chunks": 3, "seed": 7, "mesh": {"points": 5}}
    config = DatasetConfig(**defaults | settings)
    return Run(folder, config).prepare()
