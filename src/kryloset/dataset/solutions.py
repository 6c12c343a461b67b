# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The file with the solutions of a sequence of linear systems: `kryloset solve-sequence`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.layout import FILTERS, INTEGER, LIBVER, SOLUTIONS, SOLVER
from kryloset.krylov import Reason, SolveResult
from kryloset.version import __version__

#: The counts of a solve, and all quantities that are stored for each system.
COUNTED = ("iterations", "operator_applications", "preconditioner_applications")
STORED = (*COUNTED, "true_residual", "reason")

#: Entries of an HDF5 chunk of an array with one number for each system or unknown.
_ROWS = 4096


class SolutionsFile:
    """A file of solutions that is being written; `create_solutions` makes it."""

    def __init__(self, file: h5py.File) -> None:
        """Write into an open file."""
        self._file = file

    def solution(self, number: int, values: NDArray[Any]) -> None:
        """Write the solution of a system, shape (unknowns)."""
        self._file["solution"][number] = values

    def records(
        self, results: Sequence[SolveResult], order: Sequence[int], strategies: Sequence[str]
    ) -> None:
        """Write the solve records.

        Args:
            results: The results by number of the system.
            order: Numbers of the systems in solving order.
            strategies: The name of the strategy of each system, a word such as "cg+icc".
        """
        for name in STORED:
            dtype, long_name = SOLVER[name]
            values = np.array([getattr(result, name) for result in results], dtype=dtype)
            self._of_systems(name, values, long_name)
        places = np.argsort(order).astype(INTEGER)
        self._of_systems("order", places, SOLVER["position"][1])
        used = sorted(set(strategies))
        _, long_name = SOLVER["way"]
        ways = np.array([used.index(name) for name in strategies], dtype=INTEGER)
        self._of_systems("way", ways, long_name)
        attributes = self._file["way"].attrs
        attributes["flag_values"] = np.arange(len(used), dtype=INTEGER)
        attributes["flag_meanings"] = " ".join(used)
        attributes = self._file["reason"].attrs
        attributes["flag_values"] = np.array(list(Reason), dtype=INTEGER)
        attributes["flag_meanings"] = " ".join(reason.name.lower() for reason in Reason)

    def describe(self, settings: Mapping[str, Any], processes: int) -> None:
        """Write the attributes of the file."""
        attributes = self._file.attrs
        attributes["title"] = SOLUTIONS
        attributes["source"] = f"kryloset {__version__}"
        attributes["petsc_version"] = ".".join(map(str, PETSc.Sys.getVersion()))
        attributes["processes"] = processes
        attributes.update(settings)

    def make_room(self, systems: int, unknowns: int) -> None:
        """Write the dimension scales, and create the array of the solutions."""
        for name, size, long_name in (
            ("system", systems, "number of the system, as in A_<i>.dat"),
            ("unknown", unknowns, "row of the system"),
        ):
            self._array(name, np.arange(size, dtype=INTEGER), long_name).make_scale(name)
        solution = self._file.create_dataset(
            "solution",
            (systems, unknowns),
            np.dtype(PETSc.ScalarType).newbyteorder("<"),
            chunks=(1, unknowns),
            **FILTERS,
        )
        solution.attrs["long_name"] = "x of A x = b, NaN where the solve failed"
        for axis, name in enumerate(("system", "unknown")):
            solution.dims[axis].attach_scale(self._file[name])

    def _of_systems(self, name: str, values: NDArray[Any], long_name: str) -> None:
        self._array(name, values, long_name).dims[0].attach_scale(self._file["system"])

    def _array(self, name: str, values: NDArray[Any], long_name: str) -> h5py.Dataset:
        chunks = (min(len(values), _ROWS),)
        array = self._file.create_dataset(name, data=values, chunks=chunks, **FILTERS)
        array.attrs["long_name"] = long_name
        return array


@contextmanager
def create_solutions(
    path: Path, shape: tuple[int, int], settings: Mapping[str, Any], processes: int
) -> Iterator[SolutionsFile]:
    """Create a file for the solutions of a sequence atomically.

    Its bytes do not depend on the time of day, the machine or its speed.

    Args:
        path: The file.
        shape: Numbers of systems and of unknowns.
        settings: Settings of the solver, by the names of their attributes.
        processes: Number of processes that share each solve.

    Raises:
        DataError: The file cannot be written.
    """
    with write_whole(path) as part, create_hdf5(part, libver=LIBVER) as file:
        writer = SolutionsFile(file)
        writer.describe(settings, processes)
        writer.make_room(*shape)
        yield writer
