# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one writes by hand: a KSP or a factor that is made once and handed every system."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, Protocol, Self

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp

from kryloset.errors import KrylosetError
from kryloset.krylov import Reason, SolveResult
from kryloset.krylov.names import Method
from kryloset.problems import OperatorTraits

ITERATION_LIMIT = 10_000

MARGIN = 0.9
"""Part of the tolerance that is asked of PETSc, so that a residual computed afresh holds it."""

STRICTER = 0.1
"""The same for BiCGStab(2), which PETSc preconditions from the left."""

KSP_TYPES: Mapping[Method, str] = {
    "gmres": "gmres", "cg": "cg", "bicgstab": "bcgsl", "direct": "preonly",
}  # fmt: skip
"""PETSc's names of the methods."""

type Factor = Literal["LLᵀ", "LDLᵀ", "LU"]
"""Of a symmetric positive definite matrix, a symmetric one, and any other."""


class Tool(Protocol):
    """Solves systems of one pattern. It is made for the first matrix."""

    def set_up(self, operator: PETSc.Mat) -> None:
        """Prepare to solve systems with a matrix, which is the last one unless it was refilled."""

    def solve(self, rhs: PETSc.Vec, x: PETSc.Vec) -> tuple[int, Reason]:
        """Fill in x; return the iterations, and why they ended."""


class Ksp:
    """A KSP, which PETSc itself keeps up to date."""

    def __init__(
        self,
        operator: PETSc.Mat,
        method: Method,
        preconditioner: str,
        tolerance: float,
        package: str = "",
    ) -> None:
        """Make it for a method, PETSc's name of a PC, and for a factor the package that makes it.

        GMRES is restarted after 40 steps and preconditioned from the right; PETSc's own factors
        are in the order of nested dissection.
        """
        self._ksp = ksp = PETSc.KSP().create(operator.comm)
        ksp.setOperators(operator)
        ksp.setType(KSP_TYPES[method])
        margin = STRICTER if method == "bicgstab" else MARGIN
        ksp.setTolerances(rtol=margin * tolerance, atol=0.0, max_it=ITERATION_LIMIT)
        ksp.getPC().setType(preconditioner)
        if package:
            ksp.getPC().setFactorSolverType(package)
        if package == "petsc":
            ksp.getPC().setFactorOrdering("nd")
        if method == "cg":
            ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        elif method == "gmres":
            ksp.setGMRESRestart(40)
            # From the right, the residual that PETSc watches is the true one.
            ksp.setPCSide(PETSc.PC.Side.RIGHT)

    def set_up(self, operator: PETSc.Mat) -> None:
        """Set up the KSP and its preconditioner."""
        self._ksp.setOperators(operator)
        self._ksp.setUp()
        # A KSP that is set up leaves a refilled matrix to the first application.
        self._ksp.getPC().setUp()

    def solve(self, rhs: PETSc.Vec, x: PETSc.Vec) -> tuple[int, Reason]:
        """Solve by the KSP."""
        self._ksp.solve(rhs, x)
        found, reason = self._ksp.getConvergedReason(), Reason.CONVERGED
        if found < 0:
            limit = found == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
            reason = Reason.ITERATION_LIMIT if limit else Reason.BREAKDOWN
        return self._ksp.getIterationNumber(), reason


class _Factor:
    """A factor of a package outside of PETSc, made anew where the matrix was refilled.

    Of a symmetric matrix the package gets the upper triangle, row by row.
    """

    def __init__(self, operator: PETSc.Mat, symmetric: bool) -> None:
        offsets, columns, _ = operator.getValuesCSR()
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self._kept = np.flatnonzero(columns >= rows) if symmetric else slice(None)
        self._rows, self._columns = rows[self._kept], columns[self._kept]
        self._made: int | None = None

    def set_up(self, operator: PETSc.Mat) -> None:
        """Make the factor of a matrix, unless it is there already."""
        if self._made != operator.stateGet():
            self._factorise(operator.getValuesCSR()[2][self._kept])
            self._made = operator.stateGet()

    def _factorise(self, values: Any) -> None:
        raise NotImplementedError


class Pardiso(_Factor):
    """MKL PARDISO, by the package pydiso."""

    KINDS: Mapping[Factor, str] = {
        "LLᵀ": "real_symmetric_positive_definite",
        "LDLᵀ": "real_symmetric_indefinite",
        "LU": "real_nonsymmetric",
    }

    def __init__(self, operator: PETSc.Mat, factor: Factor) -> None:
        """Analyse the pattern."""
        from pydiso.mkl_solver import MKLPardisoSolver, PardisoError

        self._error = PardisoError
        super().__init__(operator, symmetric=factor != "LU")
        values = operator.getValuesCSR()[2][self._kept]
        self._matrix = sp.csr_array((values, (self._rows, self._columns)), operator.getSize())
        self._solver = MKLPardisoSolver(self._matrix, self.KINDS[factor], factor=False)

    def _factorise(self, values: Any) -> None:
        self._matrix.data = values
        try:
            self._solver.refactor(self._matrix)
        except self._error as error:
            raise ArithmeticError(error) from None

    def solve(self, rhs: PETSc.Vec, x: PETSc.Vec) -> tuple[int, Reason]:
        """Solve by the factor."""
        x.setArray(self._solver.solve(rhs.array_r.copy()))
        return 1, Reason.CONVERGED


class Cholmod(_Factor):
    """CHOLMOD's supernodal LLᵀ, by the package cvxopt, in the order of nested dissection."""

    def __init__(self, operator: PETSc.Mat) -> None:
        """Analyse the pattern."""
        from cvxopt import cholmod, matrix, spmatrix

        super().__init__(operator, symmetric=True)
        self._package, self._vector = cholmod, matrix
        order = operator.getOrdering("nd")[0].getIndices()
        values = operator.getValuesCSR()[2][self._kept]
        # Columns of the lower triangle are rows of the upper one.
        lower, size = (
            (matrix(a.astype(int)) for a in (self._columns, self._rows)),
            operator.getSize(),
        )
        self._matrix = spmatrix(matrix(values), *lower, size)
        self._symbolic = cholmod.symbolic(self._matrix, matrix(order.astype(int)))

    def _factorise(self, values: Any) -> None:
        self._matrix.V = self._vector(values)
        self._package.numeric(self._matrix, self._symbolic)

    def solve(self, rhs: PETSc.Vec, x: PETSc.Vec) -> tuple[int, Reason]:
        """Solve by the factor."""
        solution = self._vector(rhs.array_r)
        self._package.solve(self._symbolic, solution)
        x.setArray(np.asarray(solution).ravel())
        return 1, Reason.CONVERGED


@dataclass(frozen=True)
class Kept:
    """The state of a loop by hand: its tool. It recycles nothing."""

    tool: Tool | None = None

    def without_space(self) -> Self:
        """Return this state."""
        return self

    def for_operator(self, operator: PETSc.Mat) -> Self:
        """Return this state."""
        return self


@dataclass(frozen=True)
class HandWritten:
    """A loop by hand, without initial guesses. A `Solver`.

    It trusts its tool: of the true residual it knows nothing.

    Attributes:
        label: What people call it.
        method: The Krylov method, or direct.
        tolerance: On the true relative residual.
        make: Makes the tool for the first matrix.
    """

    label: str
    method: Method
    tolerance: float
    make: Callable[[PETSc.Mat], Tool]

    def init(self) -> Kept:
        """Return the state before the first system."""
        return Kept()

    def solve(self, operator: PETSc.Mat, rhs: PETSc.Vec, state: Kept) -> tuple[SolveResult, Kept]:
        """Solve a system; the seconds of the result are the processor's.

        Raises:
            KrylosetError: The package of the tool is not installed.
        """
        began = time.process_time()
        x, iterations, middle = rhs.duplicate(), 0, began
        try:
            tool = state.tool or self.make(operator)
            tool.set_up(operator)
            middle = time.process_time()
            iterations, reason = tool.solve(rhs, x)
        except ImportError as error:
            raise KrylosetError(
                f"{error.name} is not installed: `make peers` installs it"
            ) from None
        except (PETSc.Error, ArithmeticError):
            tool, reason = None, Reason.PRECONDITIONER_FAILED
        ended = time.process_time()
        result = SolveResult(
            solution=x,
            iterations=iterations,
            operator_applications=iterations,
            preconditioner_applications=iterations,
            true_residual=math.nan,
            seconds_setup=middle - began,
            seconds_rebuild=0.0,
            seconds_iterate=ended - middle,
            seconds_processor=ended - began,
            reason=reason,
            method=self.method,
            recycled=False,
        )
        return result, Kept(tool if result.converged else None)


def by_ksp(label: str, method: Method, preconditioner: str, tolerance: float) -> HandWritten:
    """Return a loop with a KSP of PETSc's."""
    tool = partial(Ksp, method=method, preconditioner=preconditioner, tolerance=tolerance)
    return HandWritten(label, method, tolerance, tool)


def by_factor(package: str, factor: Factor, tolerance: float) -> HandWritten:
    """Return a loop with a factor of mumps, petsc, pardiso or cholmod, whose code is loaded."""
    with suppress(ImportError):
        import_module(
            {"pardiso": "pydiso.mkl_solver", "cholmod": "cvxopt"}.get(package, "petsc4py")
        )
    if package == "cholmod":
        return HandWritten(f"CHOLMOD {factor}", "direct", tolerance, Cholmod)
    if package == "pardiso":
        tool: Callable[[PETSc.Mat], Tool] = partial(Pardiso, factor=factor)
        return HandWritten(f"MKL PARDISO {factor}", "direct", tolerance, tool)
    kind = "lu" if factor == "LU" else "cholesky"
    tool = partial(Ksp, method="direct", preconditioner=kind, tolerance=tolerance, package=package)
    label = {"mumps": "MUMPS", "petsc": "PETSc's"}[package]
    return HandWritten(f"{label} {factor}", "direct", tolerance, tool)


def choose_peers(operator: OperatorTraits, tolerance: float) -> dict[str, HandWritten]:
    """Return what one chooses by hand for an operator, by name: six or seven loops, GMRES first."""
    definite = operator.symmetric and operator.definite
    factor: Factor = "LDLᵀ" if operator.symmetric else "LU"
    # A singular matrix is not definite: rounding decides the sign of its last pivot.
    if definite and operator.nullspace == "none":
        factor = "LLᵀ"
    packages = ("mumps", "petsc", "pardiso", *(["cholmod"] if factor == "LLᵀ" else []))
    peers = {"gmres": by_ksp("GMRES(40) + ILU", "gmres", "ilu", tolerance)}
    peers |= {package: by_factor(package, factor, tolerance) for package in packages}
    if definite:
        peers["multigrid"] = by_ksp("CG + GAMG", "cg", "gamg", tolerance)
        peers["incomplete"] = by_ksp("CG + ICC", "cg", "icc", tolerance)
    else:
        peers["multigrid"] = by_ksp("GMRES(40) + GAMG", "gmres", "gamg", tolerance)
        peers["incomplete"] = by_ksp("BiCGStab(2) + ILU", "bicgstab", "ilu", tolerance)
    return peers
