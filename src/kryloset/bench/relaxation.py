# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How near to the best relaxation factor of SOR do bandits come, as in 'Learning to relax'?

The systems are (A + c I) x = b, A the five-point matrix of a square and c drawn from
-0.15 + 0.6 Beta(a, b), section 4 of Khodak et al. (ICLR 2024). The loss is the number of
iterations until the residual has fallen by 1e-8. Contexts are rounded to a few values, so that
every factor can be tried on every system and the best one is known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.bandit import ChebCB, TsallisINF, draw_arm
from kryloset.bench.tables import Row

type Array = NDArray[np.float64]

SHIFTS = {"high variance": (0.5, 1.5), "low variance": (2.0, 6.0)}
"""Parameters of the Beta distributions of the paper."""

LEAST, WIDTH = -0.15, 0.6
"""c lies between these, the second added to the first."""

TOLERANCE = 1e-8

ITERATION_LIMIT = 5_000


@dataclass(frozen=True, eq=False)
class Experiment:
    """Iterations of SOR on all systems with all factors.

    Attributes:
        factors: (arms), omega.
        contexts: (values), those that c is rounded to.
        iterations: (values, right-hand sides, arms).
    """

    factors: Array
    contexts: Array
    iterations: Array


def make_experiment(
    size: int = 10, arms: int = 20, values: int = 64, sides: int = 4, seed: int = 0
) -> Experiment:
    """Solve all systems with all factors, of which `arms` are equally spaced from 1 to 1.95.

    A system has one of so many `values` of c and one of so many normally distributed right-hand
    `sides`.
    """
    factors = np.linspace(1, 1.95, arms)
    contexts = LEAST + WIDTH * (np.arange(values) + 0.5) / values
    line = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
    laplacian = np.kron(line, np.eye(size)) + np.kron(np.eye(size), line)
    least = np.linalg.eigvalsh(laplacian)[0]
    # On a smaller square the matrices are to be as near to singular as in the paper.
    contexts = contexts - LEAST - 0.15 / 0.162 * least
    matrices = laplacian + contexts[:, None, None] * np.eye(size**2)
    rhs = np.random.default_rng(seed).standard_normal((size**2, sides))
    counts = [_count_sweeps(matrices, rhs, factor) for factor in factors]
    return Experiment(factors, contexts, np.stack(counts, axis=-1))


def _count_sweeps(matrices: Array, rhs: Array, factor: float) -> Array:
    """Return (matrices, right-hand sides), the sweeps of SOR each takes."""
    diagonal = np.einsum("vii->vi", matrices)[:, :, None] * np.eye(matrices.shape[1])
    splitting = np.tril(matrices, -1) + diagonal / factor
    # The residual after a sweep from that before.
    sweep = np.eye(matrices.shape[1]) - matrices @ np.linalg.inv(splitting)
    residual = np.broadcast_to(rhs, (len(matrices), *rhs.shape))
    counts = np.zeros((len(matrices), rhs.shape[1]))
    limit = TOLERANCE * np.linalg.norm(rhs, axis=0)
    for _ in range(ITERATION_LIMIT):
        going = np.linalg.norm(residual, axis=1) > limit
        rows = going.any(axis=1)
        if not rows.any():
            break
        counts += going
        residual = residual * rows[:, None, None]
        residual[rows] = sweep[rows] @ residual[rows]
    return counts


def play(
    experiment: Experiment, turns: int, shift: tuple[float, float], seed: int
) -> Mapping[str, Array]:
    """Let the bandits play the same sequence of systems.

    Returns:
        By name (turns,) the iterations of each turn: `tsallis_inf`, `chebcb`, `best_fixed` (the
        factor that is best for all systems together), `optimum` (for each) and `gauss_seidel`.
    """
    generator = np.random.default_rng(seed)
    values, sides, arms = experiment.iterations.shape
    place = np.minimum((generator.beta(*shift, turns) * values).astype(int), values - 1)
    table = experiment.iterations[place, generator.integers(sides, size=turns)]
    scale = float(experiment.iterations.max())
    first, last = float(experiment.contexts[0]), float(experiment.contexts[-1])
    tsallis, chebyshev = TsallisINF(np.zeros(arms)), ChebCB(arms, first, last, scale)
    spent: dict[str, list[float]] = {"tsallis_inf": [], "chebcb": []}
    for turn, (context, losses) in enumerate(
        zip(experiment.contexts[place].tolist(), table, strict=True)
    ):
        arm = draw_arm(tsallis.probabilities, seed, turn)
        tsallis = tsallis.after(arm, losses[arm] / scale)
        spent["tsallis_inf"].append(losses[arm])
        arm = draw_arm(chebyshev.probabilities(context), seed, turn)
        chebyshev = chebyshev.after(context, arm, losses[arm])
        spent["chebcb"].append(losses[arm])
    return {
        **{name: np.array(values) for name, values in spent.items()},
        "best_fixed": table[:, table.sum(axis=0).argmin()],
        "optimum": table.min(axis=1),
        "gauss_seidel": table[:, 0],
    }


def run(*, size: int, turns: int, trials: int, arms: int = 20) -> Iterator[list[Row]]:
    """Play all distributions; yield mean iterations a system, a row a number of turns."""
    experiment = make_experiment(size, arms)
    counts = [count for count in (100, 200, 500, 1_000, 2_000, 5_000) if count < turns] + [turns]
    for name, shift in SHIFTS.items():
        games = [play(experiment, turns, shift, seed) for seed in range(trials)]
        yield [
            {
                "shift": name,
                "unknowns": size**2,
                "turns": count,
                "trials": trials,
                **{key: float(np.mean([game[key][:count] for game in games])) for key in games[0]},
            }
            for count in counts
        ]
