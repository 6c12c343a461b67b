# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matern fields on any mesh by a stochastic partial differential equation."""

from dataclasses import dataclass
from functools import cached_property
from math import gamma, pi
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

type Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MaternField:
    r"""A Gaussian field of mean zero with Matern covariance, as nodal values on a mesh.

    The field solves (Lindgren, Rue and Lindstrom, J. R. Stat. Soc. B 73, 2011, eq. 2)

    $$ (\kappa^2 - \Delta)^{\alpha/2} g = \tau W, \qquad \kappa = 1/\ell, $$

    with white noise W and zero normal derivative, in linear elements with lumped mass
    matrix C and stiffness matrix G. With $K = \kappa^2 C + G$ the covariance matrix
    of the nodal values is (their eq. 10)

    $$ \tau^2 K^{-1} C K^{-1}\ (\alpha = 2), \qquad
       \tau^2 K^{-1} C K^{-1} C K^{-1} C K^{-1}\ (\alpha = 4). $$

    On all of $R^d$, with $\nu = \alpha - d/2$ and
    $\tau^2 = \sigma^2 (4\pi)^{d/2} \Gamma(\alpha) \kappa^{2\nu} / \Gamma(\nu)$,
    the covariance at distance r is exactly

    $$ \sigma^2 \frac{2^{1-\nu}}{\Gamma(\nu)} (\kappa r)^\nu K_\nu(\kappa r), $$

    The boundary condition reflects the covariance: the variance is $2 \sigma^2$ at a
    straight boundary and $4 \sigma^2$ at a square corner. The effect is small beyond a
    distance of $\sqrt{8\nu}\,\ell$, where the covariance is about $0.1 \sigma^2$. To
    avoid it, draw on a larger mesh. The elements should be several times smaller than
    $\ell$. Each node has one normal number, so unlike a `GaussianField` the field
    depends on the mesh and the order of its nodes.

    Attributes:
        mass: Mass matrix, sparse, shape (nodes, nodes), lumped or not.
        stiffness: Matrix of (grad u, grad v), sparse, shape (nodes, nodes).
        length: $\ell > 0$, in the mesh's unit.
        deviation: $\sigma > 0$, standard deviation away from the boundary.
        alpha: $\alpha$, 2 or 4.
        dimension: $d$ of the mesh, 1, 2 or 3.

    Raises:
        ValueError: A setting is out of its range, or the lumped mass of a node is not positive.
    """

    mass: Any
    stiffness: Any
    length: float
    deviation: float = 1.0
    alpha: Literal[2, 4] = 2
    dimension: int = 2

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.alpha not in (2, 4):
            raise ValueError(f"alpha {self.alpha} is not 2 or 4")
        if self.dimension not in (1, 2, 3):
            raise ValueError(f"dimension {self.dimension} is not 1, 2 or 3")
        if not (self.length > 0 and self.deviation > 0):
            raise ValueError(
                f"length {self.length} and deviation {self.deviation} are not both positive"
            )
        if not (self.lumped_mass > 0).all():
            node = int(np.argmin(self.lumped_mass))
            raise ValueError(
                f"the lumped mass of node {node} is {self.lumped_mass[node]}, not positive: take "
                "linear elements, each node a corner of one"
            )

    @cached_property
    def lumped_mass(self) -> Array:
        """Sums of the rows of the mass matrix, shape (nodes,)."""
        return np.asarray(self.mass.sum(axis=1), dtype=np.float64).ravel()

    @cached_property
    def amplitude(self) -> float:
        r"""$\tau$, the amplitude of the white noise."""
        nu = self.alpha - self.dimension / 2
        variance = gamma(nu) / (gamma(self.alpha) * (4 * pi) ** (self.dimension / 2))
        return float(self.deviation / (np.sqrt(variance) * self.length**nu))

    @cached_property
    def _factors(self) -> Any:
        matrix = scipy.sparse.diags_array(self.lumped_mass / self.length**2) + self.stiffness
        # The matrix is symmetric and definite: no pivoting, and an ordering for symmetric matrices.
        return scipy.sparse.linalg.splu(
            matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def draw(self, generator: "np.random.Generator") -> Array:
        """Draw a field.

        Args:
            generator: Source of randomness; one normal number is drawn for each node.

        Returns:
            Values at the nodes, shape (nodes,), in the order of the matrices.
        """
        noise = generator.standard_normal(len(self.lumped_mass))
        values = self._factors.solve(self.amplitude * np.sqrt(self.lumped_mass) * noise)
        if self.alpha == 4:
            values = self._factors.solve(self.lumped_mass * values)
        return np.asarray(values)
