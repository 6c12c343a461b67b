# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is carried from one system of a sequence to the next."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kryloset.errors import KrylosetError
from kryloset.krylov.collective import any_rank
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.methods.dense import Array
from kryloset.krylov.reuse.guess import Guess
from kryloset.krylov.reuse.reference import ReferenceMatrix
from kryloset.krylov.reuse.ski_rental import SkiRental

if TYPE_CHECKING:
    from petsc4py import PETSc

NUMBERS = (
    "systems",
    "failures",
    "iterations",
    "operator_applications",
    "preconditioner_applications",
)

ARRAYS = ("space", "solution")

REFERENCE_FIELDS = tuple(field.name for field in fields(ReferenceMatrix))


@dataclass(frozen=True, eq=False)
class SolverState:
    """The recycled space and the statistics of a sequence so far: a value.

    Each solve takes a state and returns another; none is changed. A run that continues from a
    loaded state has the iterates of an uninterrupted one, bit for bit, on the same number of
    ranks. There are two exceptions: direct solves depend on the ordering that MUMPS chooses, and
    if measured seconds decide on refreshes, these have to be replayed.

    Attributes:
        space: (local rows, at most k), Fortran order: recycled directions in the
            variable x, the rows of this rank. None if nothing is recycled.
        solution: (local rows), the last solution if the method recycles, otherwise None.
        learnt: further numbers of the method (`RecyclingKSP.numbers`).
        reference: the earlier matrix whose preconditioner is in use, if one is reused.
        guess: directions of initial guesses, if those are made.
        ski_rental: the account of the ski-rental rule.
        refreshes: numbers of the systems, from 0, that got a preconditioner of their own, if one
            is reused.
        double: whether factors of ensembles are in double precision.
        systems: systems that `SequenceSolver.solve` was given, including failed ones.
        failures: systems that did not reach the tolerance.
        iterations: sum over the systems, like the next two.
        operator_applications: applications of A.
        preconditioner_applications: applications of M^-1.
    """

    space: Array | None = None
    solution: Array | None = None
    learnt: tuple[float, ...] = ()
    reference: ReferenceMatrix | None = None
    guess: Guess | None = None
    ski_rental: SkiRental = field(default_factory=SkiRental)
    refreshes: tuple[int, ...] = ()
    double: bool = False
    systems: int = 0
    failures: int = 0
    iterations: int = 0
    operator_applications: int = 0
    preconditioner_applications: int = 0
    # The KSP or ensemble solver of the last system, for reuse; not part of the value, never saved.
    workspace: Any = field(default=None, repr=False)

    def without_space(self) -> Self:
        """Return this state with nothing recycled."""
        return replace(self, space=None, solution=None, learnt=())

    def for_operator(self, operator: "PETSc.Mat") -> Self:
        """Return this state, with nothing recycled if that has another size. Collective.

        Operators have different sizes if each instance has its own mesh. The next solve replaces
        a reference matrix or a guess of another size.
        """
        misfits = any_rank(operator.comm, not self.fits(rows_of(operator)))
        return self.without_space() if misfits else self

    def fits(self, rows: int) -> bool:
        """Return whether the recycled vectors have this many local rows."""
        fits = self.space is None or self.space.shape[0] == rows
        return fits and (self.solution is None or self.solution.shape[0] == rows)

    def to_arrays(self) -> dict[str, Array]:
        """Return the value as arrays, leaving out what is None."""
        arrays = {name: np.array(getattr(self, name)) for name in NUMBERS}
        arrays["learnt"] = np.array(self.learnt)
        arrays["rental"] = np.array(astuple(self.ski_rental))
        arrays["refreshes"] = np.array(self.refreshes, dtype=np.int64)
        if self.double:
            arrays["double"] = np.array(True)
        if self.reference is not None:
            arrays |= {f"owner_{name}": getattr(self.reference, name) for name in REFERENCE_FIELDS}
        if self.guess is not None:
            arrays["guess_directions"] = self.guess.directions
            arrays["guess_images"] = self.guess.images
            arrays["guess_digest"] = np.array(self.guess.digest)
        for name in ARRAYS:
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Return the value that `to_arrays` was called on."""
        reference = None
        if "owner_entries" in arrays:
            reference = ReferenceMatrix(*(arrays[f"owner_{name}"] for name in REFERENCE_FIELDS))
        guess = None
        if "guess_digest" in arrays:
            directions, images = (arrays[f"guess_{name}"] for name in ("directions", "images"))
            guess = Guess(directions, images, str(arrays["guess_digest"]))
        numbers: dict[str, Any] = {name: int(arrays[name]) for name in NUMBERS}
        held: dict[str, Any] = {
            name: np.asfortranarray(arrays[name]) for name in ARRAYS if name in arrays
        }
        return cls(
            learnt=tuple(arrays["learnt"].tolist()),
            reference=reference,
            guess=guess,
            ski_rental=SkiRental(*arrays["rental"].tolist()),
            refreshes=tuple(arrays["refreshes"].tolist()),
            double="double" in arrays,
            **held,
            **numbers,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to `path`. Each rank needs a path of its own.

        The file is complete or absent: it is written as `<path>.part` and then renamed. It is not
        forced to the disk, which would take as long again. After a power cut it may be damaged,
        and `load` says so.
        """
        write_arrays(path, self.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a state written by `save`.

        Raises:
            KrylosetError: if the file is missing, damaged or not such a state.
        """
        with reading_state(path) as arrays:
            return cls.from_arrays(arrays)


def rows_of(operator: "PETSc.Mat") -> int:
    """Return the number of local rows of a system with an operator, or of a lane of an ensemble."""
    ensemble = ensemble_of(operator)
    return int(operator.getLocalSize()[0]) if ensemble is None else ensemble.pattern.rows


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays to a file that is complete or absent."""
    aside = Path(f"{os.fspath(path)}.part")
    with open(aside, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(aside, path)


@contextmanager
def reading_state(path: str | os.PathLike[str]) -> Iterator[Mapping[str, Array]]:
    """Open a file of `write_arrays`.

    Raises:
        KrylosetError: for any error inside the block: the file is missing, damaged or of another
            kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except Exception as error:
        raise KrylosetError(
            f"{os.fspath(path)} is not a readable solver state ({error}): delete it and "
            "start the sequence with nothing recycled"
        ) from error
