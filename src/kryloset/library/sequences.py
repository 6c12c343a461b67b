# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences of linear systems of the user's own, from PETSc, SciPy and NumPy."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.krylov import Automatic, ResumableSolver, SequenceSolver
from kryloset.krylov.interrupts import pass_interrupt
from kryloset.run.solve_record import RecordedSolve


@dataclass(frozen=True, kw_only=True, eq=False)
class SolvedSystem:
    """One solved system of a sequence.

    Attributes:
        number: Its place in the sequence, counted from 0.
        solution: x, a NumPy array (n,) or a Vec, as the right-hand side was.
        strategy: The method and the preconditioner, such as "cg + cholesky, reused".
        iterations: Krylov iterations.
        true_residual: ||b - A x|| / ||b||, computed from A, x and b after the solve.
        seconds: Wall-clock time, that of preparing the preconditioner included.
        escalations: Methods that failed before one succeeded.
    """

    number: int
    solution: Any
    strategy: str
    iterations: int
    true_residual: float
    seconds: float
    escalations: int


def solve_sequence(
    systems: Iterable[tuple[Any, Any]],
    solver: str | SequenceSolver | Automatic = "auto",
    *,
    tolerance: float = 1e-8,
    **options: Any,
) -> Iterator[SolvedSystem]:
    """Solve linear systems one after another, each with the help of those before.

    Systems are taken when they are due, so `systems` may be a generator that assembles them, and
    may refill one Mat. Matrices with the same pattern share their memory and the symbolic part of
    a factorisation. Sort similar systems next to each other for recycling to help most.

    Args:
        systems: Pairs (A, b): A, shape (n, n), is a PETSc Mat or a sparse matrix of SciPy, and b,
            shape (n,), a NumPy array or a Vec.
        solver: "auto" for automatic selection by measured seconds; the name of a method of
            `kryloset.krylov.SequenceSolver`, such as "gcrodr"; or a solver of that package.
        tolerance: On the true relative residual ||b - A x|| / ||b||.
        options: Further attributes of `Automatic` or `SequenceSolver`, such as
            max_iterations=1000 or preconditioner="icc".

    Yields:
        A `SolvedSystem` for each system, in the order in which they came: number, solution,
        strategy, iterations, true_residual, seconds and escalations.

    Raises:
        ConfigError: The solver or one of its options is not known or out of range.
        DataError: `systems` are not systems, or one has a matrix or a right-hand side of another
            type or shape.
        KrylosetError: A system was not solved to the tolerance, or PETSc has an operation not for
            its type of matrix; the message has the system's number.
    """
    if not isinstance(systems, Iterable):
        raise DataError(
            f"systems has the type {type(systems).__name__}: give a list or a generator of pairs "
            "(A, b)"
        )
    # Checked now, and not when the first result is asked for.
    return _solve(systems, _make_solver(solver, tolerance, options))


def _make_solver(
    solver: str | SequenceSolver | Automatic, tolerance: float, options: dict[str, Any]
) -> SequenceSolver | Automatic:
    if not isinstance(solver, str):
        if options:
            raise ConfigError(
                f"{', '.join(options)}: a solver that is made already takes no options: give them "
                f"to {type(solver).__name__}"
            )
        if not isinstance(solver, SequenceSolver | Automatic):
            raise ConfigError(
                f"solver has the type {type(solver).__name__}: give 'auto', the name of a method, "
                "or a solver of kryloset.krylov"
            )
        return solver
    kind = Automatic if solver == "auto" else SequenceSolver
    known = {field.name for field in fields(kind)} - {"method", "tolerance"}
    for name in options:
        if name not in known:
            hint = ", or name a method as solver" if solver == "auto" else ""
            raise ConfigError(
                f"solver {solver!r} has no option {name!r}: use one of "
                f"{', '.join(sorted(known))}{hint}"
            )
    try:
        if kind is Automatic:
            return Automatic(tolerance=tolerance, **options)
        method: Any = solver
        return SequenceSolver(method=method, tolerance=tolerance, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"solver {solver!r}: {error}") from None


def _solve(
    systems: Iterable[tuple[Any, Any]], solver: ResumableSolver[Any]
) -> Iterator[SolvedSystem]:
    state: Any = solver.init()
    storage = _Storage()
    for number, system in enumerate(systems):
        try:
            operator, rhs = storage.read(system)
            solve = RecordedSolve(solver, state, [number])
            solution = solve(operator, rhs)
        except (KrylosetError, ValueError) as error:
            kind = type(error) if type(error) is DataError else KrylosetError
            raise kind(f"system {number}: {error}") from error
        except PETSc.Error as error:
            pass_interrupt(error)
            raise KrylosetError(
                f"system {number}: PETSc cannot do with this matrix what the solver needs: "
                f"{str(error).splitlines()[-1]}"
            ) from error
        state, (record,) = solve.state, solve.records
        yield SolvedSystem(
            number=number,
            solution=solution if isinstance(system[1], PETSc.Vec) else _to_array(solution),
            strategy=record.label,
            iterations=record.iterations,
            true_residual=record.true_residual,
            seconds=record.seconds,
            escalations=record.escalations,
        )


def _to_array(solution: PETSc.Vec) -> NDArray[Any]:
    array = solution.getArray().copy()
    solution.destroy()
    return np.asarray(array)


class _Storage:
    """Systems as PETSc's; matrices of SciPy with the same pattern share one Mat."""

    def __init__(self) -> None:
        self._operator: PETSc.Mat | None = None
        self._parts: tuple[NDArray[Any], ...] = ()

    def read(self, system: Any) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return a system as PETSc has it.

        Raises:
            DataError: It is not a pair of a matrix and a right-hand side that fit together.
        """
        if not isinstance(system, tuple | list) or len(system) != 2:
            raise DataError(
                f"a {type(system).__name__} is not a system: give pairs (A, b) of a matrix and "
                "its right-hand side"
            )
        matrix, rhs = system
        for part in system:
            if isinstance(part, PETSc.Object) and not part.handle:
                raise DataError(
                    f"a {type(part).__name__} of PETSc is empty: it was destroyed or never created"
                )
        if isinstance(matrix, PETSc.Mat):
            operator = matrix
            if not operator.isAssembled():
                raise DataError("the Mat is not assembled: call `A.assemble()`")
        elif hasattr(matrix, "tocsr"):
            operator = self._fill(matrix.tocsr())
        else:
            raise DataError(
                f"the matrix is a {type(matrix).__name__}: give a PETSc Mat or a sparse matrix of "
                "SciPy, such as scipy.sparse.csr_array(A)"
            )
        return operator, rhs if isinstance(rhs, PETSc.Vec) else self._to_vector(operator, rhs)

    def _fill(self, matrix: Any) -> PETSc.Mat:
        """Return a sparse matrix of SciPy as a Mat of one process."""
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        entries = _to_numbers("the matrix", matrix.data)
        offsets, columns = (part.astype(PETSc.IntType) for part in (matrix.indptr, matrix.indices))
        parts = (offsets, columns, entries)
        same = [np.array_equal(one, other) for one, other in zip(parts, self._parts, strict=False)]
        if self._operator is None or not all(same[:2]):
            self._operator = PETSc.Mat().createAIJ(matrix.shape, csr=parts, comm=PETSc.COMM_SELF)
        elif not same[2]:
            # A matrix that is the same keeps its factor, for PETSc notices that it was not filled.
            self._operator.setValuesCSR(*parts)
            self._operator.assemble()
        self._parts = parts
        return self._operator

    def _to_vector(self, operator: PETSc.Mat, rhs: Any) -> PETSc.Vec:
        values = np.asarray(rhs)
        vector = operator.createVecLeft()
        if values.shape != (vector.getLocalSize(),):
            raise DataError(
                f"the right-hand side has the shape {values.shape}, and the matrix "
                f"{operator.getLocalSize()[0]} rows: give a vector of as many numbers"
            )
        vector.setArray(_to_numbers("the right-hand side", values))
        return vector


def _to_numbers(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in PETSc's type."""
    scalar = np.dtype(PETSc.ScalarType)
    if values.dtype.kind not in "biufc":
        raise DataError(f"{name} holds {values.dtype}, and must hold numbers")
    if values.dtype.kind == "c" and scalar.kind != "c":
        raise DataError(
            f"{name} is complex, and this PETSc was built for real numbers: install a PETSc of "
            "complex numbers, or write the system in real and imaginary parts"
        )
    return values.astype(scalar)
