# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Deep Conjugate Direction Method: CG whose search directions a network predicts.

A. Kaneda, O. Akar, J. Chen, V. Kala, D. Hyde and J. Teran, "A deep conjugate direction method for
iteratively solving linear systems" (ICML 2023). The network has the residual as input, and here
the coefficient too, since each system has a matrix of its own where the paper has one.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from kryloset.krylov import Reason, SolveResult
from kryloset.learn.solving.fitting import Array, fit

CHANNELS = 16
"""Of the paper's network."""

KEPT = 2
"""Directions to which the next one is made conjugate, as in the paper."""

EMPHASIS = 9.0
"""Factor of the leading Ritz vectors in a residual to learn from: the paper's number."""

LEADING = 0.55
"""Share of the Ritz vectors that lead: 5,500 of 10,000 in the paper's code."""


class _Residual(nn.Module):  # type: ignore[misc]
    """x plus two convolutions of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _convolution(), _convolution()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu()).relu()


class DirectionNetwork(nn.Module):  # type: ignore[misc]
    """The paper's network for grids of 64 points a side, with convolutions in the plane.

    Residual blocks on the grid, on one of half the points, and on the grid again. Its output is
    multiplied by the norm of the residual, so that it is a homogeneous function.

    Args:
        mean: Of the logarithm of the coefficient.
        deviation: Its standard deviation.
    """

    def __init__(self, mean: float, deviation: float) -> None:
        """Draw the weights."""
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.lift = nn.Conv2d(2, CHANNELS, 3, padding="same")
        self.fine, self.block, self.next = _convolution(), _Residual(), _convolution()
        self.coarse = nn.Sequential(*(_Residual() for _ in range(3)))
        self.up = nn.Sequential(*(_Residual() for _ in range(2)))
        self.project = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, residual: Tensor, field: Tensor) -> Tensor:
        """Return directions for residuals (N, x, y) and coefficients (N, x, y)."""
        size = residual.square().mean(dim=(1, 2), keepdim=True).sqrt()
        scaled = (field.log() - self.mean) / self.deviation
        x = self.lift(torch.stack((residual / size, scaled), dim=1))
        x = self.next(self.block(self.fine(x).relu())).relu()
        pooled = self.coarse(functional.avg_pool2d(x, 2, ceil_mode=True))
        x = self.up(functional.interpolate(pooled, size=x.shape[2:]) + x)
        return self.project(x)[:, 0] * size


def _convolution() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding="same")


def direction_loss(matrix: Tensor, residual: Tensor, direction: Tensor) -> Tensor:
    """Return ||r - alpha A d||^2 / ||r||^2 with the alpha that CG would choose, d'r / d'A d.

    Kaneda et al., equation 5. It needs no solution, and is 0 for every multiple of A^-1 r.

    Args:
        matrix: A, (n, n), symmetric positive definite.
        residual: r, (n,).
        direction: d, (n,).
    """
    image = matrix @ direction
    step = (direction @ residual) / (direction @ image)
    return (residual - step * image).square().sum() / residual.square().sum()


def ritz_vectors(matrix: sp.csr_array, count: int, generator: np.random.Generator) -> Array:
    """Return Ritz vectors (n, count) of a symmetric matrix, by ascending Ritz values.

    Lanczos from A times a random vector, where all vectors are made orthogonal again. There are
    fewer if the Krylov space ends.
    """
    vector = matrix @ generator.standard_normal(matrix.shape[0])
    basis = np.zeros((matrix.shape[0], count))
    basis[:, 0] = vector / np.linalg.norm(vector)
    for number in range(1, count):
        image = matrix @ basis[:, number - 1]
        size = np.linalg.norm(image)
        for _ in range(2):
            image -= basis[:, :number] @ (basis[:, :number].T @ image)
        norm = np.linalg.norm(image)
        if norm <= 1e-12 * size:
            basis = basis[:, :number]
            break
        basis[:, number] = image / norm
    return np.asarray(basis @ np.linalg.eigh(basis.T @ (matrix @ basis))[1])


def draw_residuals(vectors: Array, count: int, generator: np.random.Generator) -> Array:
    """Draw residuals (count, n) of norm 1, in which smooth Ritz vectors (n, m) lead.

    Kaneda et al., section 5.
    """
    coefficients = generator.standard_normal((count, vectors.shape[1]))
    coefficients[:, : round(LEADING * vectors.shape[1])] *= EMPHASIS
    residuals = coefficients @ vectors.T
    return np.asarray(residuals / np.linalg.norm(residuals, axis=1, keepdims=True))


def learn_directions(
    fields: Array,
    matrices: Sequence[sp.csr_array],
    *,
    vectors: int,
    residuals: int,
    steps: int,
    batch: int,
    seed: int,
) -> DirectionNetwork:
    """Train a network without any solution.

    Args:
        fields: (N, x, y), coefficients of the systems.
        matrices: Of the systems, symmetric positive definite.
        vectors: Ritz vectors of each.
        residuals: Drawn for each.
        steps: Of the optimiser.
        batch: Residuals of a step.
        seed: Of the weights, the residuals and the batches.
    """
    generator = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            draw_residuals(ritz_vectors(one, vectors, generator), residuals, generator)
            for one in matrices
        ]
    )
    held = [_to_torch(one) for one in matrices]
    r, a = torch.from_numpy(drawn).float(), torch.from_numpy(fields).float()
    torch.manual_seed(seed)
    network = DirectionNetwork(float(np.log(fields).mean()), float(np.log(fields).std()))

    def loss(items: Tensor) -> Tensor:
        systems = items // residuals
        found = network(r[items].unflatten(1, fields.shape[1:]), a[systems]).flatten(1)
        losses = [
            direction_loss(held[system], r[item], direction)
            for system, item, direction in zip(systems.tolist(), items, found, strict=True)
        ]
        return torch.stack(losses).mean()

    fit(network, loss, len(r), steps=steps, batch=batch, rate=2e-3, seed=seed)
    return network


def _to_torch(matrix: sp.csr_array) -> Tensor:
    """Return a sparse matrix as torch has it, in single precision."""
    entries = matrix.tocoo()
    places = torch.from_numpy(np.stack((entries.row, entries.col)).astype(np.int64))
    values = torch.from_numpy(entries.data).float()
    return torch.sparse_coo_tensor(
        places, values, entries.shape, is_coalesced=True, check_invariants=False
    )


@dataclass(frozen=True)
class DirectionState:
    """What the next system is solved with.

    Attributes:
        field: (x, y), its coefficient.
    """

    field: Array | None = None


@dataclass(frozen=True)
class DeepConjugateDirections:
    """Flexible CG (PETSc's FCG) that is preconditioned by a network. A `Solver`.

    Attributes:
        network: Predicts directions.
        tolerance: On the true relative residual.
        max_iterations: For a system.
    """

    network: DirectionNetwork
    tolerance: float = 1e-8
    max_iterations: int = 200

    def init(self) -> DirectionState:
        """Return a state without a coefficient, which has to come before a solve."""
        return DirectionState()

    def __call__(self, field: Array, matrix: PETSc.Mat, state: DirectionState) -> DirectionState:
        """Return a state with the coefficient (x, y) of a system."""
        return replace(state, field=field)

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: DirectionState
    ) -> tuple[SolveResult, DirectionState]:
        """Solve operator x = rhs.

        Raises:
            ValueError: The state has no coefficient.
        """
        if state.field is None:
            raise ValueError("the network needs the coefficient of the system: set state.field")
        began, clock = time.perf_counter(), time.process_time()
        ksp = PETSc.KSP().create(operator.comm)
        ksp.setOperators(operator)
        ksp.setOptionsPrefix("kryloset_directions_")
        options = PETSc.Options(ksp.getOptionsPrefix())
        chosen = {"ksp_fcg_mmax": KEPT, "ksp_fcg_truncation_type": "standard"}
        for key, value in chosen.items():
            options[key] = value
        ksp.setType(PETSc.KSP.Type.FCG)
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        ksp.setTolerances(self.tolerance, 0.0, 1e30, self.max_iterations)
        pc = ksp.getPC()
        pc.setType(PETSc.PC.Type.PYTHON)
        pc.setPythonContext(_Preconditioner(self.network, state.field))
        ksp.setFromOptions()
        for key in chosen:
            del options[key]
        solution, residual = operator.createVecs()
        ksp.solve(rhs, solution)
        operator.mult(solution, residual)
        residual.aypx(-1.0, rhs)
        true = residual.norm() / rhs.norm()
        finite = math.isfinite(true)
        iterations = ksp.getIterationNumber()
        if true <= self.tolerance:
            reason = Reason.CONVERGED
        elif iterations >= self.max_iterations:
            reason = Reason.ITERATION_LIMIT
        else:
            reason = Reason.BREAKDOWN if finite else Reason.NON_FINITE
        result = SolveResult(
            solution=solution,
            iterations=iterations,
            operator_applications=iterations + 1,
            preconditioner_applications=iterations,
            true_residual=true,
            seconds_setup=0.0,
            seconds_rebuild=0.0,
            seconds_iterate=time.perf_counter() - began,
            seconds_processor=time.process_time() - clock,
            reason=reason,
            method="cg",
            recycled=False,
        )
        ksp.destroy()
        return result, state


class _Preconditioner:
    """The network as a preconditioner of PETSc."""

    def __init__(self, network: DirectionNetwork, field: Array) -> None:
        self._network = network
        self._shape = field.shape
        self._field = torch.from_numpy(field).float()[None]

    def apply(self, pc: Any, source: PETSc.Vec, target: PETSc.Vec) -> None:
        """Set target to the direction for the residual in source."""
        values = source.getArray(readonly=True)
        size = float(np.linalg.norm(values)) or 1.0
        # Of unit size before it is rounded to single precision.
        residual = torch.from_numpy((values / size).reshape(self._shape)).float()
        with torch.inference_mode():
            direction = self._network(residual[None], self._field)
        target.setArray(size * direction[0].double().numpy().ravel())
