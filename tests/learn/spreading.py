# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family with time steps that is linear: heat on a line, by the decay of sines."""

from pathlib import Path

import numpy as np
from reaction_data import Data, make_data

from kryloset.problems import Family, Variable

WAVES = np.arange(1, 5)


class Spreading(Family):
    """u_t = u_xx on (0, 1), u = 0 at both ends, u = u0 at t = 0."""

    summary = "Heat on a line"
    equation = "u_t = u_xx in (0, 1), u = 0 at both ends, u = u0 at t = 0"
    parameters = (Variable("u0", "initial temperature"), Variable("f", "nothing"))
    fields = (Variable("u", "temperature"),)

    @property
    def coordinates(self):
        """Equidistant points."""
        return {"x": np.linspace(0, 1, self.mesh.points)}

    @property
    def times(self):
        """Seven states."""
        return np.linspace(0, 0.06, 7)

    def draw(self, generator):
        """Draw the sum of a few sines, and a function of which nothing depends."""
        (x,) = self.coordinates.values()
        sines = np.sin(np.pi * np.outer(x, WAVES))
        u0, f = (sines @ generator.standard_normal(len(WAVES)) for _ in range(2))
        return {"u0": u0, "f": f}

    def discretise(self, comm):
        """Refuse, since the tests need only `solve`."""
        raise NotImplementedError

    def solve(self, u0, f):
        """Return all states, (time, x)."""
        (x,) = self.coordinates.values()
        sines = np.sin(np.pi * np.outer(x, WAVES))
        amplitudes = np.linalg.lstsq(sines, u0, rcond=None)[0]
        decay = np.exp(-np.outer(self.times, (np.pi * WAVES) ** 2))
        states = (decay * amplitudes) @ sines.T
        states[0] = u0  # without rounding
        return states


def make_trajectories(path: Path, **settings) -> Data:
    """Make a dataset of six instances, of which three are learned from."""
    usual = {
        "family": f"{__file__}:Spreading",
        "count": 6,
        "splits": {"train": 0.5, "valid": 0.17, "test": 0.33},
        "training": {
            "epochs": 2,
            "settings": {"fno": {"width": 4, "modes": 4, "layers": 1}},
        },
    }
    return make_data(path, **usual | settings)
