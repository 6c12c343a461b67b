# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A family with one scalar parameter, on a grid that is finer at two walls."""

import numpy as np
import ufl

from kryloset.problems import OperatorTraits, SteadyFamily, Variable, WeakForm, degrees_of_freedom

U = Variable("u", "solution")


class Amplitude(SteadyFamily):
    """-lap u = c, u = 0 on the boundary."""

    summary = "Poisson's equation, the source a number"
    equation = "-lap u = c, u = 0 on the boundary"
    parameters = (Variable("c", "source", dimensions=()),)
    fields = (U,)
    unknowns = (degrees_of_freedom(U),)
    operator = OperatorTraits(symmetric=True, definite=True, constant=True)

    @property
    def coordinates(self):
        """A grid that is not equidistant along x."""
        line = np.linspace(0, 1, self.mesh.points)
        return {"x": (1 - np.cos(np.pi * line)) / 2, "y": line}

    def draw(self, generator):
        """Draw the source."""
        return {"c": generator.uniform(1, 2)}

    def features(self, instance):
        """Return equal features for all instances."""
        return np.zeros(1)

    def weak_form(self, space, parameters):
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, parameters["c"] * v * ufl.dx)
