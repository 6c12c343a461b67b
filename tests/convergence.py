# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors of finite element solutions and the orders at which they fall."""

from collections.abc import Callable, Sequence
from typing import Any

from mpi4py import MPI

import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from directly import solve_directly
from kryloset.problems import FiniteElementFamily, Instance


def solve_instance(family: FiniteElementFamily, instance: Instance) -> fem.Function:
    """Solve an instance as the workflow does; return the (last) solution as a Function.

    It is read back from the arrays that would be stored, so that an error in them is found.
    """
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    stored = discretisation.solve([instance], solve_directly)[0]
    if family.times is not None:
        stored = {name: array[-1] for name, array in stored.items()}
    function = fem.Function(discretisation.elements.space)
    discretisation.elements.read(stored, function.x.array)
    return function


def l2_error(found: Any, exact: Callable[[Any], Any], domain: Any) -> float:
    """Return the L2 norm of found - exact(x), integrated on the elements.

    Args:
        found: A Function or a part of one (`ufl.split`).
        exact: The exact solution as a UFL expression of the coordinates.
        domain: The mesh.
    """
    difference = found - exact(ufl.SpatialCoordinate(domain))
    measure = ufl.dx(domain, metadata={"quadrature_degree": 8})
    square = fem.assemble_scalar(fem.form(ufl.inner(difference, difference) * measure))
    return float(np.sqrt(abs(square)))


def observed_orders(errors: Sequence[float], ratio: float = 2.0) -> NDArray[np.float64]:
    """Return the orders between successive meshes, each `ratio` times finer than the one before."""
    e = np.array(errors)
    return np.log(e[:-1] / e[1:]) / np.log(ratio)
