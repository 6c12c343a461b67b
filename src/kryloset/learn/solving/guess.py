# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The prediction of an operator as the initial guess of a solver."""

from dataclasses import dataclass, field, replace

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import torch

from kryloset.krylov import Reason, SequenceSolver, SolveResult, SolverState
from kryloset.learn.losses import make_loss
from kryloset.learn.operator import Operator
from kryloset.learn.solving.fitting import Array, fit, make_operator, predict


@dataclass(frozen=True)
class PredictedGuess:
    """Guesses that an operator predicts from the coefficient of a system.

    Attributes:
        operator: Predicts the solution.
    """

    operator: Operator

    @classmethod
    def learn(
        cls, fields: Array, solutions: Array, *, modes: int, steps: int, batch: int, seed: int
    ) -> "PredictedGuess":
        """Learn from coefficients and solutions (N, x, y), by the relative error in H1.

        Its derivatives are what a residual is made of.
        """
        operator = make_operator(fields, 1, float(solutions.std()), modes=modes, seed=seed)
        x, y = (torch.from_numpy(array[:, None]).float() for array in (fields, solutions))
        axes = [np.linspace(0.0, 1.0, points) for points in fields.shape[1:]]
        measure = make_loss("h1", axes)
        fit(
            operator,
            lambda items: measure(operator(x[items]), y[items]),
            len(x),
            steps=steps,
            batch=batch,
            rate=1e-2,
            seed=seed,
        )
        return cls(operator)

    def __call__(self, field: Array, matrix: PETSc.Mat, state: "GuessedState") -> "GuessedState":
        """Return a state with the guess for a system, from its coefficient (x, y)."""
        return replace(state, guess=predict(self.operator, field)[0])


@dataclass(frozen=True, eq=False)
class GuessedState:
    """What the next system is solved with.

    Attributes:
        held: State of the solver.
        guess: An approximate solution of any shape; None for none.
    """

    held: SolverState = field(default_factory=SolverState)
    guess: Array | None = None


@dataclass(frozen=True)
class GuessedSolver:
    """A solver that starts from the multiple of a guess with the least residual. A `Solver`.

    Attributes:
        solver: Solves for the correction.
    """

    solver: SequenceSolver

    @property
    def tolerance(self) -> float:
        """Largest true relative residual of a solution."""
        return self.solver.tolerance

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.solver.label

    def init(self) -> GuessedState:
        """Return a state without a guess."""
        return GuessedState()

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: GuessedState
    ) -> tuple[SolveResult, GuessedState]:
        """Solve operator x = rhs from the guess of the state, which is used once."""
        if state.guess is None:
            result, held = self.solver.solve(operator, rhs, state.held)
            return result, GuessedState(held)
        start, image = operator.createVecs()
        start.setArray(state.guess.ravel())
        operator.mult(start, image)
        multiple = image.dot(rhs) / image.dot(image)
        start.scale(multiple)
        image.aypx(-multiple, rhs)
        norm = rhs.norm()
        left = image.norm() / norm
        # Of the residual that is left, which is at most that of no guess.
        tolerance = min(self.tolerance / left, 0.5) if left else 0.5
        result, held = replace(self.solver, tolerance=tolerance).solve(operator, image, state.held)
        result.solution.axpy(1.0, start)
        operator.mult(result.solution, image)
        image.aypx(-1.0, rhs)
        true = image.norm() / norm
        reason = result.reason
        if result.converged and true > self.tolerance:
            reason = Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE
        products = result.operator_applications + 2
        found = replace(result, true_residual=true, reason=reason, operator_applications=products)
        return found, GuessedState(held)
