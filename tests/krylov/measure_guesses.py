# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What initial guesses from earlier solutions save: `python tests/krylov/measure_guesses.py`.

Before a system A x = b is solved, x0 is the best combination of the last solutions W,

    Galerkin:       W'A W y = W'b        for A symmetric positive definite (least A-norm of the
                                         error, as of PETSc's KSPGuess for POD and of Fischer,
                                         *Comput. Methods Appl. Mech. Engrg.* 163, 1998),
    least squares:  min ||b - A W y||    for others,

and a `SequenceSolver` solves A d = b - A x0 with its tolerance on ||b||. Beside them runs what
`SequenceSolver(guess="projection")` does. Every system is solved
with and without guesses by each strategy in turn; which begins moves on by one each system.
Seconds are the processor's, set-ups and projections included, without those of the first instance.
"""

import argparse
import time
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.families import choose_config
from kryloset.krylov import SequenceSolver
from kryloset.krylov.revision import Revision, get_revision
from kryloset.problems import load_family
from kryloset.sampling import generator

TOLERANCE = 1e-8
LENGTHS = (0, 1, 2, 4)
"""Numbers of earlier solutions that guesses combine; 0 for no guess."""

DEPENDENT = 1e-13
"""Eigenvalues of the scaled Gram matrix below this are rounding."""

# Instances, and the strategies that are best today or that gain most from a guess.
FAMILIES: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "heat": (3, (("cg", "cholesky"), ("cg", "icc"), ("cg", "multigrid"))),
    "reaction_diffusion": (20, (("cg", "multigrid"), ("cg", "cholesky, reused"), ("cg", "icc"))),
    "kuramoto_sivashinsky": (3, (("gmres", "lu"), ("gmres", "ilu"))),
    "navier_stokes": (2, (("direct", "cholesky"),)),
    "darcy": (60, (("cg", "multigrid"), ("cg", "cholesky, reused"), ("cg", "icc"))),
    "elasticity": (40, (("cg", "multigrid"), ("cg", "cholesky, reused"), ("cg", "icc"))),
}


@dataclass
class Window:
    """The last solutions x and their products A x, newest first, one a row."""

    length: int
    solutions: deque[NDArray[Any]] = field(default_factory=deque)
    products: deque[NDArray[Any]] = field(default_factory=deque)
    revision: Revision | None = None

    def project(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, definite: bool
    ) -> tuple[NDArray[Any], PETSc.Vec] | None:
        """Return x0 and b - A x0, or None if there is no earlier solution."""
        if not self.solutions:
            return None
        if self.revision is None or self.revision != get_revision(operator):
            self.products = deque(multiply(operator, x, rhs) for x in self.solutions)
            self.revision = get_revision(operator)
        b = rhs.array_r
        W, AW = (differences(rows) for rows in (self.solutions, self.products))
        tests = W if definite else AW
        gram, moments = tests @ AW.T, tests @ b
        # Equal solutions have a zero difference.
        sizes = np.sqrt(np.diag(gram))
        scale = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        y = (
            scale
            * np.linalg.lstsq(gram * np.outer(scale, scale), scale * moments, rcond=DEPENDENT)[0]
        )
        remainder = rhs.duplicate()
        remainder.setArray(b - y @ AW)
        return y @ W, remainder

    def append(self, operator: PETSc.Mat, x: PETSc.Vec) -> None:
        """Take one more solution in, and drop the oldest."""
        self.solutions.appendleft(x.array_r.copy())
        if self.revision == get_revision(operator):
            self.products.appendleft(multiply(operator, self.solutions[0], x))
        while len(self.solutions) > self.length:
            self.solutions.pop()
            if len(self.products) > self.length:
                self.products.pop()


def differences(rows: deque[NDArray[Any]]) -> NDArray[Any]:
    """Return x, x - x', x - 2 x' + x'' and so on: far less dependent than the rows themselves."""
    left = np.array(rows)
    for order in range(1, len(left)):
        left[order:] = left[order - 1 : -1] - left[order:]
    return left


def multiply(operator: PETSc.Mat, x: NDArray[Any], like: PETSc.Vec) -> NDArray[Any]:
    """Return A x."""
    vector, product = like.duplicate(), like.duplicate()
    vector.setArray(x)
    operator.mult(vector, product)
    return product.array_r.copy()


@dataclass
class Strategy:
    """A solver with its state and its window."""

    solver: SequenceSolver
    window: Window
    definite: bool
    state: Any = None
    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    projecting: list[float] = field(default_factory=list)
    residual: float = 0.0

    def solve(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        start = time.process_time()
        state = (self.state or self.solver.init()).for_operator(operator)
        found, iterations = None, 0
        if self.window.length:
            found = self.window.project(operator, rhs, self.definite)
        middle = time.process_time()
        if found is None:
            result, self.state = self.solver.solve(operator, rhs, state)
            x, iterations = result.solution, result.iterations
        else:
            guess, remainder = found
            x = rhs.duplicate()
            x.setArray(guess)
            tolerance = TOLERANCE * rhs.norm() / remainder.norm()
            if tolerance < 1:
                # With the KSP of the state: that of another tolerance would be a new one.
                solver = replace(self.solver, tolerance=tolerance)
                if state.workspace is not None:
                    state.workspace.solver = solver
                result, self.state = solver.solve(operator, remainder, state)
                x.axpy(1.0, result.solution)
                iterations = result.iterations
        later = time.process_time()
        if self.window.length:
            self.window.append(operator, x)
        end = time.process_time()
        self.iterations.append(iterations)
        self.seconds.append(end - start)
        self.projecting.append(middle - start + end - later)
        residual = rhs.duplicate()
        operator.mult(x, residual)
        residual.aypx(-1.0, rhs)
        self.residual = max(self.residual, residual.norm() / rhs.norm())
        return x


@dataclass
class SolveByAll:
    """Solves each system by all strategies in turn; the family goes on with the first solution."""

    strategies: list[Strategy]
    tolerance: float = TOLERANCE
    systems: int = 0

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x of the first strategy."""
        count = len(self.strategies)
        turns = [(self.systems + i) % count for i in range(count)]
        self.systems += 1
        found = {i: self.strategies[i].solve(operator, rhs) for i in turns}
        return found[0]


def measure(name: str, scale: int) -> None:
    """Print a row for each strategy."""
    count, pairs = FAMILIES[name]
    config = choose_config(name, scale, count)
    family = load_family(config)
    definite = family.operator.symmetric and family.operator.definite
    strategies = []
    for method, preconditioner in pairs:
        plain, _, reused = preconditioner.partition(", ")
        solver = SequenceSolver(method, plain, TOLERANCE, refresh="rental" if reused else "always")
        strategies += [Strategy(solver, Window(length), definite) for length in LENGTHS]
        if not reused:
            strategies.append(Strategy(replace(solver, guess="projection"), Window(0), definite))
    solve = SolveByAll(strategies)
    discretisation = family.discretise(MPI.COMM_SELF)
    first = 0
    for number in order(family, count):
        discretisation.solve([family.draw(generator(0, number))], solve)
        first = first or solve.systems
    for strategy in strategies:
        ms, middle, projecting = (
            1e3 * f(values[first:])
            for f, values in (
                (fmean, strategy.seconds),
                (median, strategy.seconds),
                (fmean, strategy.projecting),
            )
        )
        label = strategy.solver.label.removesuffix(", guessed")
        guess = (
            f"last {strategy.window.length}" if strategy.window.length else strategy.solver.guess
        )
        print(
            f"| {name} | {config.mesh.points} | {solve.systems} | {label} | {guess} "
            f"| {fmean(strategy.iterations[first:]):.1f} | {ms:.2f} | {middle:.2f} "
            f"| {projecting:.2f} | {strategy.residual:.1e} |",
            flush=True,
        )


def order(family: Any, count: int) -> list[int]:
    """Return the instances in a greedy chain by their parameters."""
    from kryloset.ordering import greedy_chain

    instances = [family.draw(generator(0, number)) for number in range(count)]
    rows = np.array([np.concatenate([np.ravel(v) for v in one.values()]) for one in instances])
    return greedy_chain(rows.astype(float)).tolist()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--scale", type=int, choices=(1, 4), default=1)
    arguments = parser.parse_args()
    heads = (
        "family, points, systems, strategy, guess, iterations, ms, median ms, of these projecting"
    )
    print("| " + " | ".join([*heads.split(", "), "residual"]) + " |")
    print("| --- " * 10 + "|")
    for family_name in arguments.families:
        measure(family_name, arguments.scale)
