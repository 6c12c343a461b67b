# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The experiment of 'Learning to relax' on a small square."""

import numpy as np
import pytest

from kryloset.bench import relaxation


@pytest.fixture(scope="module")
def experiment():
    return relaxation.make_experiment(size=6, arms=8, values=32, sides=2)


def test_sweeps_are_those_of_successive_over_relaxation(experiment):
    """Sweeps over the unknowns, one after the other, counted for one system."""
    size, arm, value = 6, 3, 10
    line = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
    matrix = np.kron(line, np.eye(size)) + np.kron(np.eye(size), line)
    matrix += experiment.contexts[value] * np.eye(size**2)
    b = np.random.default_rng(0).standard_normal((size**2, 2))[:, 1]
    x, sweeps = np.zeros(size**2), 0
    while np.linalg.norm(b - matrix @ x) > relaxation.TOLERANCE * np.linalg.norm(b):
        for i in range(size**2):
            x[i] += experiment.factors[arm] * (b[i] - matrix[i] @ x) / matrix[i, i]
        sweeps += 1
    assert experiment.iterations[value, 1, arm] == sweeps


@pytest.mark.parametrize("shift", relaxation.SHIFTS)
def test_regret_falls_with_the_systems_and_contexts_beat_the_best_fixed_factor(experiment, shift):
    turns = 1000
    beta = relaxation.SHIFTS[shift]
    games = [relaxation.play(experiment, turns, beta, seed) for seed in range(2)]

    def mean(name, part):
        return np.mean([game[name][part].mean() for game in games])

    early, late = slice(0, turns // 4), slice(3 * turns // 4, turns)
    regret = [mean("tsallis_inf", part) - mean("best_fixed", part) for part in (early, late)]
    assert 0 < regret[1] < 0.7 * regret[0]
    assert mean("chebcb", late) < mean("best_fixed", late)
    assert mean("chebcb", late) < mean("tsallis_inf", late) < mean("gauss_seidel", late)
