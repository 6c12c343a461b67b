# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve a sequence of linear systems from files, without a PDE or a configuration."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.solutions import COUNTED, create_solutions
from kryloset.errors import DataError, KrylosetError
from kryloset.krylov import Automatic, SequenceSolver, SolveResult
from kryloset.krylov.files.sequence import SystemReader, check_sequence
from kryloset.ordering import greedy_chain
from kryloset.progress import track
from kryloset.run import files

logger = logging.getLogger(__name__)

#: The method that is chosen by measured seconds.
AUTO = "auto"

#: The options of the command, by the fields of `SequenceSolver`.
OPTIONS = {
    "method": "--ksp",
    "preconditioner": "--pc",
    "tolerance": "--rtol",
    "restart": "--restart",
    "recycle": "--recycle",
    "max_iterations": "--max-it",
    "petsc_options": "--petsc-option",
}

#: The parts of a solve that are timed.
TIMED = ("setup", "rebuild", "iterate")


def run(
    folder: Path,
    *,
    output: Path,
    ksp: str = AUTO,
    pc: str | None = None,
    rtol: float = 1e-8,
    restart: int | None = None,
    recycle: int | None = None,
    max_it: int = 10_000,
    order: str = "given",
    petsc_options: Sequence[str] = (),
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> dict[str, Any]:
    """Solve the systems of a folder in order and write the solutions under their numbers.

    The solution of a system that fails is stored as NaN, with the reason. The next system begins
    with nothing recycled.

    Args:
        folder: `A_<i>` and `rhs_<i>`; see `kryloset.krylov.files`.
        output: The file to write, which must not exist.
        ksp: Method of `SequenceSolver`; or `auto` for `Automatic`, which chooses for each system
            by measured seconds, and has no use for `pc`, `restart`, `recycle` and `petsc_options`.
        pc: Preconditioner of `SequenceSolver`; by default its own, as for the next but one.
        rtol: Tolerance, on the true relative residual.
        restart: Its restart.
        recycle: Its recycle.
        max_it: Limit of iterations, for each system.
        order: `given`, `greedy` (needs `parameters.npy`), or the name of a file that holds
            the numbers in solving order.
        petsc_options: Further options of PETSc, each `NAME=VALUE` or `NAME`.
        comm: Processes that share each solve. Rank 0 checks, writes and says what failed.

    Returns:
        What `kryloset solve-sequence --json` prints: means over all systems, failed ones
        included.

    Raises:
        KrylosetError: An option is wrong; the message names it.
        DataError: An input is missing, damaged or does not fit the others, or the output cannot
            be written. Nothing was solved or written, unless the disk became full.
    """
    work = None
    if comm.rank == 0:
        chosen = _choose_solver(
            ksp, rtol, max_it, preconditioner=pc, restart=restart, recycle=recycle,
            petsc_options=_read_options(petsc_options) or None,
        )  # fmt: skip
        _check_folder(output)
        found = check_sequence(folder)
        work = chosen, found, _choose_order(order, folder, len(found))
        # Last, so that a command that is repeated still names a damaged input.
        _check_absent(output)
    solver, systems, numbers = comm.bcast(work)

    results: dict[int, SolveResult] = {}
    strategies: dict[int, str] = {}
    reader, state = SystemReader(systems, comm), solver.init()
    first = comm.rank == 0
    shape, settings = (len(systems), systems.size), _settings(solver)
    writing = create_solutions(output, shape, settings, comm.size) if first else nullcontext()
    with writing as file:
        for number in track(numbers, "solving systems") if first else numbers:
            result, state = solver.solve(*reader.read(number), state)
            solution = comm.gather(result.solution.getArray())
            if file is not None:
                x = np.concatenate(solution)
                file.solution(number, x if result.converged else np.full_like(x, np.nan))
            if not result.converged and first:
                logger.warning(
                    "system %d failed: true relative residual %.3g after %d iterations; %s",
                    number, result.true_residual, result.iterations, result.reason.message,
                )  # fmt: skip
            result.solution.destroy()
            results[number] = result
            strategies[number] = files.strategy_name(solver.used(state).label)
        if file is not None:
            every = range(len(results))
            file.records([results[i] for i in every], numbers, [strategies[i] for i in every])
    return _summarise(list(results.values()))


def describe(summary: Mapping[str, Any]) -> str:
    """Return a table for people of what `run` returned."""
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


def _choose_solver(
    method: str, tolerance: float, max_iterations: int, **settings: Any
) -> SequenceSolver | Automatic:
    """Return the solver; settings that are None have its own defaults."""
    given = {field: value for field, value in settings.items() if value is not None}
    if method == AUTO and given:
        options = ", ".join(OPTIONS[field] for field in given)
        raise KrylosetError(
            f"{options}: --ksp auto chooses by itself, and has no use for it: name a method, as in "
            "--ksp gcrodr"
        )
    limits: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
    if method != AUTO:
        limits["method"] = method
    kind = Automatic if method == AUTO else SequenceSolver
    try:
        return kind(**limits, **given)
    except ValueError as error:
        field, _, rest = str(error).partition(" ")
        raise KrylosetError(f"{OPTIONS.get(field, field)} {rest}") from None


def _settings(solver: SequenceSolver | Automatic) -> dict[str, Any]:
    """Return the settings of the solver, by the names of their attributes in the file."""
    found = {
        option.strip("-").replace("-", "_"): getattr(solver, field, None)
        for field, option in OPTIONS.items()
    }
    options = found.pop("petsc_option")
    if options:
        found["petsc_options"] = " ".join(f"{name}={value}" for name, value in options.items())
    found["ksp"] = found["ksp"] or AUTO
    return {name: value for name, value in found.items() if value is not None}


def _read_options(texts: Sequence[str]) -> dict[str, str]:
    """Return options by name. The last value counts if one is given twice, as in PETSc."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _choose_order(order: str, folder: Path, count: int) -> list[int]:
    """Return the numbers of the systems in solving order."""
    if order == "given":
        return list(range(count))
    if order == "greedy":
        return [int(i) for i in greedy_chain(_read_features(folder / "parameters.npy", count))]
    return _read_order(Path(order), count)


def _read_features(path: Path, count: int) -> NDArray[np.float64]:
    """Read one vector for each system."""
    try:
        parameters = _read_npy(path)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({error}): --order greedy needs a NumPy array with the "
            "parameters of each system along its first axis; or use --order given"
        ) from None
    if parameters.dtype.kind not in "biufc":
        raise DataError(f"{path} does not hold an array of numbers: --order greedy needs one")
    if parameters.ndim == 0 or len(parameters) != count:
        length = len(parameters) if parameters.ndim else "no"
        raise DataError(
            f"{path} holds parameters of {length} systems, {path.parent} has {count} systems: "
            "write one entry for each system along the first axis"
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
                values = np.asarray(file[files.PERMUTATION])
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
    wrong += [
        f"{number} is not the number of a system" for number in values if not 0 <= number < count
    ]
    wrong += [f"{number} is missing" for number in np.setdiff1d(np.arange(count), values)]
    if wrong:
        raise DataError(
            f"--order {path}: {wrong[0]}; each number from 0 to {count - 1} is expected once"
        )
    return [int(number) for number in values]


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


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
