"""Heat in a square plate with a random source and heat loss: a complete family of your own."""

import ufl
from pydantic import Field

from kryloset.config import Section
from kryloset.problems import BoundaryCondition, OperatorTraits, SteadyFamily, Variable, WeakForm
from kryloset.sampling import GaussianField


class HeatSettings(Section):
    """Keys of `parameters:` in the configuration, with defaults and bounds."""

    conductivity: float = Field(1.0, gt=0, description="Conductivity of the plate [W/(m K)].")
    length: float = Field(0.2, gt=0, description="Correlation length of the source [m].")


class Heat(SteadyFamily):
    """-div(c grad u) + h u = q in the unit square, u = 0 on its boundary."""

    summary = "Heat in a square plate with a random source and heat loss"
    equation = "-div(c grad u) + h u = q in (0, 1)^2, u = 0 on the boundary"
    Settings = HeatSettings
    parameters = (
        Variable("q", "heat source", "W/m^3"),
        Variable("h", "heat loss", "W/(m^3 K)", dimensions=()),
    )
    fields = (Variable("u", "temperature above the surroundings", "K"),)
    operator = OperatorTraits(symmetric=True, definite=True)
    boundary_conditions = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "u = 0 on x = 0 and x = 1"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "u = 0 on y = 0 and y = 1"),
    )

    def draw(self, generator):
        """Draw one instance: a field on the grid and a number."""
        source = GaussianField(length=self.settings.length, modes=12)
        return {"q": source.draw(generator, self.mesh.points), "h": generator.uniform(0, 10)}

    def weak_form(self, space, parameters):
        """Return the forms; `parameters` holds what `draw` drew."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        q, h = parameters["q"], parameters["h"]
        conduction = self.settings.conductivity * ufl.inner(ufl.grad(u), ufl.grad(v))
        return WeakForm((conduction + h * u * v) * ufl.dx, q * v * ufl.dx)
