# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a family declares about its operator, compared with matrices that it assembles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov import Automatic, Structure
from kryloset.krylov.structure import is_positive_definite, is_symmetric
from kryloset.problems.base import Discretisation, Family, Instance, OperatorTraits
from kryloset.run.solve_record import RecordedSolve

#: Relative difference below which two matrices are the same.
ROUNDING = 1e-12
#: Systems of an instance that are kept: of time steps the first and the next.
KEPT = 2

type System = tuple[PETSc.Mat, NDArray[Any]]


@dataclass(frozen=True)
class Trait:
    """One thing that a family may declare about its operator.

    Attributes:
        name: Its name in `OperatorTraits`.
        declared: Whether the family declares it.
        found: Whether it holds for the matrices that were assembled.
        advice: What to do where the two differ.
    """

    name: str
    declared: bool
    found: bool
    advice: str

    @property
    def wrong(self) -> bool:
        """Whether something is declared that does not hold."""
        return self.declared and not self.found


class _KeptSolve(RecordedSolve):
    """A solve that keeps copies of the first systems it is given."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.systems: list[System] = []

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        if len(self.systems) < KEPT:
            self.systems.append(_copy(operator, rhs))
        return super().__call__(operator, rhs)


def _copy(operator: PETSc.Mat, rhs: PETSc.Vec) -> System:
    """Return a system that outlives the mesh that it was assembled on."""
    kept = PETSc.Mat().createAIJ(
        operator.getSize(), csr=operator.getValuesCSR(), comm=PETSc.COMM_SELF
    )
    if (space := operator.getNearNullSpace()).handle:
        vectors = [vector.array_r.copy() for vector in space.getVecs()]
        kept.setNearNullSpace(
            PETSc.NullSpace().create(
                vectors=[PETSc.Vec().createWithArray(v, comm=PETSc.COMM_SELF) for v in vectors]
            )
        )
    return kept, rhs.array_r.copy()


def assemble(
    family: Family, discretisation: Discretisation, instance: Instance, tolerance: float
) -> list[System]:
    """Return copies of the first linear systems of an instance, which is solved for that.

    The solver finds out itself what the matrices are, and believes nothing that is declared but
    a null space.

    Raises:
        KrylosetError: A system was not solved.
    """
    singular = family.operator.nullspace != "none"
    structure = Structure(symmetric=False, definite=False, singular=True) if singular else None
    solver = Automatic(tolerance=tolerance, structure=structure)
    solve = _KeptSolve(solver, solver.init(), [0])
    solve.solve(discretisation, [instance])
    return solve.systems


def check_traits(family: Family, first: Sequence[System], second: Sequence[System]) -> list[Trait]:
    """Compare what a family declares with the systems of two instances.

    Args:
        family: The family.
        first: Systems of one instance, at least one.
        second: Systems of another one.

    Returns:
        What was found, first what every operator has.
    """
    operator = family.operator
    matrices = [matrix for matrix, _ in (*first, *second)]
    found = [
        *_of_entries(operator, matrices),
        _constant(operator, matrices, family.times is not None),
    ]
    if operator.near_nullspace != "none":
        holds = _has_near_nullspace(matrices[0])
        found.append(_compare("near_nullspace", True, holds, f'"{operator.near_nullspace}"'))
    return found


def _of_entries(operator: OperatorTraits, matrices: Sequence[PETSc.Mat]) -> Iterator[Trait]:
    """Yield what the entries of each matrix show."""
    symmetric = all(map(is_symmetric, matrices))
    yield _compare("symmetric", operator.symmetric, symmetric)
    null = all(map(_maps_constants_to_zero, matrices))
    # Of a singular matrix the factor has a pivot that is rounding: its diagonal is looked at.
    definite = all(
        matrix.getDiagonal().min()[1] > 0 if null else is_positive_definite(_symmetric_part(matrix))
        for matrix in matrices
    )
    yield _compare("definite", operator.definite, definite)
    lowest = min(matrix.getDiagonal().min()[1] for matrix in matrices)
    # An indefinite matrix without a block of zeros may have a negative diagonal, too.
    saddle = lowest <= 0 if operator.saddle_point else lowest == 0
    yield _compare("saddle_point", operator.saddle_point, bool(saddle))
    yield _compare("nullspace", operator.nullspace == "constants", null, '"constants"')


def _compare(name: str, declared: bool, found: bool, value: str = "True") -> Trait:
    advice = ""
    if declared and not found:
        advice = f"does not hold: remove {name}={value}, or mend the form"
    elif found and not declared:
        advice = f"declare {name}={value} if it holds for every instance: it helps the solver"
    return Trait(name, declared, found, advice)


def _symmetric_part(matrix: PETSc.Mat) -> PETSc.Mat:
    part = matrix.transpose(PETSc.Mat())
    part.axpy(1.0, matrix)
    return part


def _maps_constants_to_zero(matrix: PETSc.Mat) -> bool:
    ones = matrix.createVecRight()
    ones.set(1.0)
    largest = PETSc.NormType.INFINITY
    return bool((matrix * ones).norm(largest) <= ROUNDING * matrix.norm(largest))


def _has_near_nullspace(matrix: PETSc.Mat) -> bool:
    """Return whether the attached functions have no energy in some rows, away from conditions."""
    size = matrix.norm(PETSc.NormType.INFINITY)
    space = matrix.getNearNullSpace()
    vectors = space.getVecs() if space.handle else []
    rows = np.ones(matrix.getLocalSize()[0], dtype=bool)
    for vector in vectors:
        forces, largest = np.abs((matrix * vector).array_r), np.abs(vector.array_r).max()
        rows &= forces <= ROUNDING * size * largest
    return bool(vectors) and bool(rows.any())


def _constant(operator: OperatorTraits, matrices: Sequence[PETSc.Mat], steps: bool) -> Trait:
    same = all(difference(matrices[0], other) <= ROUNDING for other in matrices[1:])
    return _compare("constant", operator.constant, same and len(matrices) > 1)


def difference(one: PETSc.Mat, other: PETSc.Mat) -> float:
    """Return ||A - B|| / ||A|| in the norm of the largest row; infinite for other sizes."""
    if one.getSize() != other.getSize():
        return float("inf")
    norm = PETSc.NormType.INFINITY
    both = one.copy()
    both.axpy(-1.0, other, structure=PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
    return float(both.norm(norm) / (one.norm(norm) or 1.0))
