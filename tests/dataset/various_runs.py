# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of all stages up to the chunks, for families with everything that a file can hold."""

from pathlib import Path

from mpi4py import MPI

from pointwise_runs import Run

from kryloset.config import DatasetConfig
from kryloset.run import solve

FAMILIES = Path(__file__).parent / "various.py"


class StagedRun(Run):
    """A run whose chunks the solve stage writes."""

    def solve_chunk(self, number, instances):
        """Run the stage."""
        chunk = f"{number + 1}-of-{self.config.chunks}"
        path = self.folder / "chunks" / f"{chunk}.h5"
        order = self.folder / "order.h5"
        solve.run(
            self.config, self.name, order=order, chunk=chunk, output=path, comm=MPI.COMM_SELF
        )  # fmt: skip
        return path


def various(folder: Path, family: str, dimension: int = 2, **settings) -> StagedRun:
    """Draw, sort and solve; grids of three and of nine points beside that of five."""
    mesh = {"points": 5, "dimension": dimension, "grids": [3, 9]}
    splits = {"train": 0.5, "test": 0.5}
    config = {"family": f"{FAMILIES}:{family}", "count": 6, "chunks": 2}
    config |= {"mesh": mesh, "splits": splits}
    folder.mkdir(exist_ok=True)
    return StagedRun(folder, DatasetConfig(**config | settings)).prepare()
