# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family by finite differences, with parameters of every kind: a field, a profile, a number."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from kryloset.problems import Family, Variable


class Reaction(Family):
    """-div(k grad u) + nu u = f(y) on a rectangle, u = 0 on its boundary."""

    summary = "Diffusion and reaction"
    equation = "-div(k grad u) + nu u = f(y) in (0, 1) x (0, 2), u = 0 on the boundary"
    parameters = (
        Variable("k", "diffusivity", transform="log"),
        Variable("f", "source", dimensions=("y",)),
        Variable("nu", "reaction rate", dimensions=()),
    )
    fields = (Variable("u", "concentration"),)

    @property
    def coordinates(self):
        """More points along y than along x, so that exchanged axes are found."""
        n = self.mesh.points
        return {"x": np.linspace(0, 1, n), "y": np.linspace(0, 2, n + 2)}

    def draw(self, generator):
        """Draw smooth k > 0 and f, and nu > 0."""
        x, y = self.coordinates.values()
        waves = [np.cos(np.pi * np.arange(4) * axis[:, None] / axis[-1]) for axis in (x, y)]
        decay = 1 / (1 + np.add.outer(np.arange(4), np.arange(4))) ** 2
        log_k = waves[0] @ (decay * generator.standard_normal((4, 4))) @ waves[1].T
        source = 1 + 0.3 * waves[1] @ (decay[0] * generator.standard_normal(4))
        return {"k": np.exp(log_k), "f": source, "nu": np.asarray(9 * generator.random())}

    def discretise(self, comm):
        """Refuse, since the tests need only `solve`."""
        raise NotImplementedError

    def solve(self, k, f, nu):
        """Return u by the five-point scheme with arithmetic means of k between points."""
        shape = k.shape
        steps = [axis[1] - axis[0] for axis in self.coordinates.values()]
        number = np.arange(k.size).reshape(shape)
        matrix = nu * scipy.sparse.eye_array(k.size, format="csr")
        for axis, step in enumerate(steps):
            near, far = (np.moveaxis(number, axis, 0)[part].ravel() for part in (_LOW, _HIGH))
            between = (k.ravel()[near] + k.ravel()[far]) / 2 / step**2
            size = len(near)
            rows = np.concatenate([np.arange(size)] * 2)
            signs = np.concatenate([np.ones(size), -np.ones(size)])
            entries = (signs, (rows, np.concatenate([near, far])))
            difference = scipy.sparse.csr_array(entries, shape=(size, k.size))
            matrix = matrix + difference.T @ scipy.sparse.diags_array(between) @ difference
        inner = number[1:-1, 1:-1].ravel()
        right = np.broadcast_to(f, shape).ravel()[inner]
        u = np.zeros(k.size)
        u[inner] = scipy.sparse.linalg.spsolve(matrix[inner][:, inner].tocsc(), right)
        return u.reshape(shape)


class Uniform(Reaction):
    """The same with the source 1, so that all parameters are on further grids."""

    parameters = Reaction.parameters[::2]

    def draw(self, generator):
        """Leave out f."""
        drawn = super().draw(generator)
        return {name: drawn[name] for name in ("k", "nu")}

    def solve(self, k, nu):
        """Return u for f = 1."""
        return super().solve(k, np.ones(k.shape[1]), nu)


_LOW, _HIGH = slice(None, -1), slice(1, None)
