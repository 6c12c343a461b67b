# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve a sequence of systems that came as files, with no PDE and no configuration."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.layout import FILTERS, INTEGER, LIBVER, SOLVER
from kryloset.errors import DataError, KrylosetError
from kryloset.krylov import Reason, SequenceSolver, SolveResult
from kryloset.krylov.sequence_files import SequenceFiles, SystemReader, check_sequence
from kryloset.ordering import greedy_chain
from kryloset.progress import track
from kryloset.version import __version__

logger = logging.getLogger(__name__)

#: The options of the command, by the fields of `SequenceSolver` where those differ.
OPTIONS = {
    "method": "--ksp",
    "preconditioner": "--pc",
    "tolerance": "--rtol",
    "restart": "--restart",
    "recycle": "--recycle",
    "max_iterations": "--max-it",
}

#: What is stored of each system, as in a dataset.
COUNTED = ("iterations", "operator_applications", "preconditioner_applications")
RECORDED = (*COUNTED, "true_residual", "reason")

#: The parts of a solve that are timed.
TIMED = ("setup", "rebuild", "iterate")

#: Numbers of an HDF5 chunk of an array with one number a system or unknown.
ROWS = 4096


def run(
    folder: Path,
    *,
    ksp: str,
    pc: str,
    rtol: float,
    restart: int,
    recycle: int,
    max_it: int,
    order: str,
    output: Path,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> dict[str, Any]:
    """Solve the systems of a folder in order and write the solutions under their numbers.

    A system that fails is stored as NaN with the reason, and the next one begins with
    nothing recycled.

    Args:
        folder: `A_<i>.dat` and `rhs_<i>.dat`; see `kryloset.krylov.sequence_files`.
        ksp: Method of `SequenceSolver`.
        pc: Its preconditioner.
        rtol: Its tolerance, on the true relative residual.
        restart: Its restart.
        recycle: Its recycle.
        max_it: Its limit of iterations.
        order: `given`, `greedy` (needs `parameters.npy`), or the name of a file that holds
            the numbers in solving order.
        output: The file to write, which must not exist.
        comm: Processes that share each solve. Rank 0 checks, writes and says what failed.

    Returns:
        What `kryloset solve-sequence --json` prints: means over all systems, failed ones
        included.

    Raises:
        KrylosetError: An option is wrong; the message names it.
        DataError: An input is missing, damaged or does not fit the others, or the output
            cannot be written. Nothing was solved or written, unless the disk ran full.
    """
    work = None
    if comm.rank == 0:
        chosen = _choose_solver(
            method=ksp, preconditioner=pc, tolerance=rtol,
            restart=restart, recycle=recycle, max_iterations=max_it,
        )  # fmt: skip
        _check_folder(output)
        found = check_sequence(folder)
        work = chosen, found, _choose_order(order, folder, len(found))
        # Last, so that a damaged input is named also by a command that is given again.
        _check_absent(output)
    solver, files, numbers = comm.bcast(work)

    results: dict[int, SolveResult] = {}
    reader, state = SystemReader(files, comm), solver.init()
    first = comm.rank == 0
    with _create(output, files, solver, comm.size) if first else nullcontext() as file:
        for number in track(numbers, "solving systems") if first else numbers:
            result, state = solver.solve(*reader.read(number), state)
            solution = comm.gather(result.solution.getArray())
            if file is not None:
                file["solution"][number] = np.concatenate(solution) if result.converged else np.nan
            if not result.converged and first:
                logger.warning(
                    "system %d failed: true relative residual %.3g after %d iterations; %s",
                    number, result.true_residual, result.iterations, result.reason.message,
                )  # fmt: skip
            result.solution.destroy()
            results[number] = result
        if file is not None:
            _record(file, results, numbers)
    return _summarise(list(results.values()))


def describe(summary: Mapping[str, Any]) -> str:
    """Return what `run` returned as a table for people."""
    rows = (
        ("systems", f"{summary['systems']}"),
        ("mean iterations", f"{summary['iterations_mean']:.1f}"),
        ("mean operator applications", f"{summary['operator_applications_mean']:.1f}"),
        ("mean preconditioner applications", f"{summary['preconditioner_applications_mean']:.1f}"),
        ("mean seconds", f"{summary['seconds_mean']:.3g}"),
        ("  set-up", f"{summary['seconds_setup_mean']:.3g}"),
        ("  space rebuild", f"{summary['seconds_rebuild_mean']:.3g}"),
        ("  iterations", f"{summary['seconds_iterate_mean']:.3g}"),
        ("largest true relative residual", f"{summary['true_residual_max']:.2e}"),
        ("failures", f"{summary['failures']}"),
    )
    return "\n".join(f"{name:34}{value:>10}" for name, value in rows)


# What is checked before any work


def _check_folder(output: Path) -> None:
    """Check that the output can be written, which `write_whole` would find out too late."""
    if not output.parent.is_dir():
        raise DataError(f"{output} cannot be written: there is no folder {output.parent}; make it")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise DataError(
            f"{output} cannot be written: no permission to write in {output.parent}; change it, "
            "or choose another folder"
        )


def _check_absent(output: Path) -> None:
    if os.path.lexists(output):
        raise DataError(
            f"{output} exists and is not written over: move it away or choose another --out"
        )


def _choose_solver(**fields: Any) -> SequenceSolver:
    try:
        return SequenceSolver(**fields)
    except ValueError as error:
        field, _, rest = str(error).partition(" ")
        raise KrylosetError(f"{OPTIONS.get(field, field)} {rest}") from None


def _choose_order(order: str, folder: Path, count: int) -> list[int]:
    """Return the numbers of the systems in solving order."""
    if order == "given":
        return list(range(count))
    if order == "greedy":
        return [int(i) for i in greedy_chain(_read_features(folder / "parameters.npy", count))]
    return _read_order(Path(order), count)


def _read_features(path: Path, count: int) -> NDArray[np.float64]:
    """Read one vector a system."""
    try:
        parameters = _read_npy(path)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({error}): --order greedy needs a NumPy array with the "
            "parameters of each system along its first axis; or use --order given"
        ) from None
    if parameters.dtype.kind not in "biufc":
        raise DataError(f"{path} holds no array of numbers: --order greedy needs one")
    if parameters.ndim == 0 or len(parameters) != count:
        length = len(parameters) if parameters.ndim else "no"
        raise DataError(
            f"{path} holds parameters of {length} systems, {path.parent} has {count} systems: "
            "write one entry a system along the first axis"
        )
    if not np.isfinite(parameters).all():
        place = tuple(np.argwhere(~np.isfinite(parameters))[0].tolist())
        raise DataError(
            f"{path}: entry {place} is {parameters[place]}, finite numbers are expected; or use "
            "--order given"
        )
    features = parameters.reshape(count, -1)
    if features.dtype.kind == "c":
        features = np.concatenate([features.real, features.imag], axis=1)
    return features.astype(np.float64)


def _read_order(path: Path, count: int) -> list[int]:
    """Read a permutation of 0, ..., count - 1."""
    try:
        if path.suffix == ".npy":
            values = _read_npy(path)
        elif path.suffix in (".h5", ".hdf5"):
            with h5py.File(path, "r") as file:
                values = np.asarray(file["permutation"])
        else:
            values = np.array([int(word) for word in path.read_text().split()], dtype=np.int64)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(f"{values.ndim} axes of {values.dtype}, one of integers is expected")
    except Exception as error:
        raise DataError(
            f"--order {path} cannot be read ({error}): use given, greedy, or a file with the "
            f"numbers 0 to {count - 1} in solving order: text, .npy, or order.h5 of kryloset sort"
        ) from None
    wrong = [
        f"{number} is there {times} times"
        for number, times in zip(*np.unique(values, return_counts=True), strict=True)
        if times > 1
    ]
    wrong += [f"{number} is no system" for number in values if not 0 <= number < count]
    wrong += [f"{number} is missing" for number in np.setdiff1d(np.arange(count), values)]
    if wrong:
        raise DataError(
            f"--order {path}: {wrong[0]}; each number from 0 to {count - 1} is expected once"
        )
    return [int(number) for number in values]


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


# What is written and printed


@contextmanager
def _create(
    output: Path, files: SequenceFiles, solver: SequenceSolver, processes: int
) -> Iterator[h5py.File]:
    """Create the file with its dimensions and room for the solutions.

    Nothing of the hour, the machine or the speed goes into it.
    """
    with write_whole(output) as part, create_hdf5(part, libver=LIBVER) as file:
        file.attrs["title"] = "solutions of a sequence of linear systems"
        file.attrs["source"] = f"kryloset {__version__}"
        file.attrs["petsc_version"] = ".".join(map(str, PETSc.Sys.getVersion()))
        file.attrs["processes"] = processes
        for field, option in OPTIONS.items():
            file.attrs[option.strip("-").replace("-", "_")] = getattr(solver, field)
        for name, size, long_name in (
            ("system", len(files), "number of the system, as in A_<i>.dat"),
            ("unknown", files.size, "row of the system"),
        ):
            _array(file, name, np.arange(size, dtype=INTEGER), long_name).make_scale(name)
        solution = file.create_dataset(
            "solution",
            (len(files), files.size),
            np.dtype(PETSc.ScalarType).newbyteorder("<"),
            chunks=(1, files.size),
            **FILTERS,
        )
        solution.attrs["long_name"] = "x of A x = b, NaN where the solve failed"
        for axis, name in enumerate(("system", "unknown")):
            solution.dims[axis].attach_scale(file[name])
        yield file


def _record(file: h5py.File, results: Mapping[int, SolveResult], numbers: list[int]) -> None:
    """Write what it took to solve each system, how well it is solved, and when it was."""
    for name in RECORDED:
        dtype, long_name = SOLVER[name]
        values = np.array([getattr(results[i], name) for i in range(len(results))], dtype=dtype)
        _array(file, name, values, long_name).dims[0].attach_scale(file["system"])
    order = np.argsort(numbers).astype(INTEGER)
    _array(file, "order", order, SOLVER["position"][1]).dims[0].attach_scale(file["system"])
    attributes = file["reason"].attrs
    attributes["flag_values"] = np.array(list(Reason), dtype=INTEGER)
    attributes["flag_meanings"] = " ".join(reason.name.lower() for reason in Reason)


def _array(file: h5py.File, name: str, values: NDArray[Any], long_name: str) -> h5py.Dataset:
    array = file.create_dataset(name, data=values, chunks=(min(len(values), ROWS),), **FILTERS)
    array.attrs["long_name"] = long_name
    return array


def _summarise(results: list[SolveResult]) -> dict[str, Any]:
    """Return means, the largest residual and the number of failures."""
    mean = {f"{key}_mean": float(np.mean([getattr(r, key) for r in results])) for key in COUNTED}
    seconds = {
        f"seconds_{key}_mean": float(np.mean([getattr(r, f"seconds_{key}") for r in results]))
        for key in TIMED
    }
    return {
        "systems": len(results),
        **mean,
        **seconds,
        "seconds_mean": sum(seconds.values()),
        "true_residual_max": max(result.true_residual for result in results),
        "failures": sum(not result.converged for result in results),
    }
