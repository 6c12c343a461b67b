# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Choosing among settings of a solver while solving: two bandits, as values.

Both are those of M. Khodak, E. Chow, M.-F. Balcan and A. Talwalkar, "Learning to relax:
setting solver parameters across a sequence of linear system instances" (ICLR 2024), where the
arms are values of the relaxation factor of SOR and the loss is the number of iterations.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

type Array = NDArray[np.float64]

NEWTON_STEPS = 100
"""More than are ever taken: Newton's method converges from above here."""


def draw_arm(probabilities: Array, seed: int, turn: int) -> int:
    """Draw an arm: the same for the same seed and turn, whatever was drawn before."""
    point = np.random.default_rng((seed, turn)).random()
    arm = int(np.searchsorted(np.cumsum(probabilities), point, side="right"))
    return min(arm, len(probabilities) - 1)


@dataclass(frozen=True, eq=False)
class TsallisINF:
    """Tsallis-INF with importance weights, for losses in [0, 1] that anyone may choose.

    J. Zimmert and Y. Seldin, "Tsallis-INF: an optimal algorithm for stochastic and adversarial
    bandits", JMLR 22 (2021), algorithm 1 with alpha = 1/2. By theorem 1 the regret of T turns
    against the best of K arms is in expectation at most 4 sqrt(K T) + 1.

    Attributes:
        estimates: (arms), unbiased estimates of the sums of losses.
        turns: taken so far.
    """

    estimates: Array
    turns: int = 0

    @property
    def probabilities(self) -> Array:
        """(arms), of the next turn."""
        return tsallis_weights(self.estimates, 2 / np.sqrt(self.turns + 1))

    def after(self, arm: int, loss: float) -> Self:
        """Return the bandit after a turn in which `arm` was drawn and cost `loss`."""
        estimates = self.estimates.copy()
        estimates[arm] += loss / self.probabilities[arm]
        return replace(self, estimates=estimates, turns=self.turns + 1)


def tsallis_weights(losses: Array, rate: float) -> Array:
    """Minimise <w, losses> - sum_i (4 sqrt(w_i) - 2 w_i) / rate over the simplex.

    The minimiser is w_i = 4 / (rate (losses_i - x))^2, with x such that they sum to one.
    """
    # From here the sum is at least one, convex and increasing in x.
    x = losses.min() - 2 / rate
    for _ in range(NEWTON_STEPS):
        weights = 4 / (rate * (losses - x)) ** 2
        step = (weights.sum() - 1) / (rate * (weights**1.5).sum())
        if x - step == x or step <= 0:
            break
        x -= step
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class ChebCB:
    """A contextual bandit: Chebyshev series of the context for each arm's loss, and SquareCB.

    Khodak et al., algorithm 3, after D. Foster and A. Rakhlin, "Beyond UCB: optimal and
    efficient contextual bandits with regression oracles" (ICML 2020). The loss of arm i at
    context c is predicted by a series of `degree` terms in c, fitted to the losses the arm has
    had under |theta_0| <= scale and |theta_j| <= scale / (j (last - first)), as the
    coefficients of a Lipschitz function fall. With y the least prediction, arm i is drawn with
    probability 1 / (arms + rate (y_i - y)), the best one with what remains.

    Attributes:
        arms: number of them.
        first: least context; likewise `last`. Others are moved to the nearer end.
        degree: terms of a series.
        scale: of the losses; the largest.
        grams: (arms, degree, degree), sums of phi phi'.
        moments: (arms, degree), sums of loss phi.
        series: (arms, degree), the fitted coefficients.
    """

    arms: int
    first: float
    last: float
    scale: float
    degree: int = 6
    turns: int = 0
    grams: Array = field(default_factory=lambda: np.zeros(0))
    moments: Array = field(default_factory=lambda: np.zeros(0))
    series: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Make room for the sums."""
        if self.series.size == 0:
            shape = (self.arms, self.degree)
            object.__setattr__(self, "grams", np.zeros((*shape, self.degree)))
            object.__setattr__(self, "moments", np.zeros(shape))
            object.__setattr__(self, "series", np.zeros(shape))

    @property
    def rate(self) -> float:
        """How greedy the next turn is, for losses in iterations."""
        d, m, t = self.arms, self.degree, self.turns + 1
        return float(np.sqrt(d * m**2 * t / (d * m**3 + t)))

    def features(self, context: float) -> Array:
        """Return the Chebyshev polynomials T_0, ..., T_(degree-1) of the context."""
        point = 2 * (context - self.first) / (self.last - self.first) - 1
        return np.asarray(np.cos(np.arange(self.degree) * np.arccos(np.clip(point, -1, 1))))

    def predict(self, context: float) -> Array:
        """Return (arms), the losses that are expected."""
        return np.asarray(self.series @ self.features(context))

    def probabilities(self, context: float) -> Array:
        """Return (arms), of the next turn."""
        predicted = self.predict(context)
        best = int(np.argmin(predicted))
        weights = 1 / (self.arms + self.rate * (predicted - predicted[best]))
        weights[best] = 0.0
        weights[best] = 1 - weights.sum()
        return np.asarray(weights)

    def after(self, context: float, arm: int, loss: float) -> Self:
        """Return the bandit after a turn in which `arm` was drawn and cost `loss`."""
        grams, moments, series = self.grams.copy(), self.moments.copy(), self.series.copy()
        phi = self.features(context)
        grams[arm] += np.outer(phi, phi)
        moments[arm] += loss * phi
        order = np.maximum(np.arange(self.degree), 1) * (self.last - self.first)
        bound = self.scale / np.where(np.arange(self.degree) == 0, 1.0, order)
        series[arm] = fit_in_box(grams[arm], moments[arm], bound)
        return replace(self, grams=grams, moments=moments, series=series, turns=self.turns + 1)


def fit_in_box(gram: Array, moment: Array, bound: Array) -> Array:
    """Minimise x'gram x / 2 - moment'x under |x| <= bound, near 0 where gram leaves it open."""
    size = len(gram)
    factor = scipy.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(size))
    target = scipy.linalg.solve_triangular(factor, moment, trans="T")
    x = scipy.linalg.solve_triangular(factor, target)
    if (np.abs(x) > bound).any():
        x = scipy.optimize.lsq_linear(factor, target, (-bound, bound), method="bvls").x
    return np.asarray(x)
