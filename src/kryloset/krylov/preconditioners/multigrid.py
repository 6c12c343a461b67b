# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Geometric multigrid: PETSc's V-cycle on interpolations that a matrix brings along.

With P_l the interpolation to lattice l, the operator one lattice down is P_l' A_l P_l. Only that
product, a factor of the coarsest operator and nothing else is made for new entries. A cycle
smooths on each lattice with a sweep of Gauss and Seidel on the way down and one in the
opposite order on the way up, so that it is symmetric, and definite, where A is
(W. Hackbusch, Multi-Grid Methods and Applications, 1985, sections 3.4 and 7.2).

What makes the matrices attaches them, as `kryloset.fem.lattices` does: the attribute
`interpolations` of a Mat is a function that returns them, the one to A's own rows first.
"""

from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.options import set_from_options


def has_interpolations(operator: PETSc.Mat) -> bool:
    """Return whether a matrix brings along what geometric multigrid needs."""
    return operator.getAttr("interpolations") is not None


def set_multigrid(pc: PETSc.PC, operator: PETSc.Mat) -> None:
    """Make a preconditioner the V-cycle of a matrix; its set-up is the caller's. Collective.

    Args:
        pc: of that matrix.
        operator: has the attribute `interpolations`.

    Raises:
        KrylosetError: if it has not.
    """
    if not has_interpolations(operator):
        raise KrylosetError(
            "preconditioner multigrid needs unknowns on a lattice, those of Lagrange elements on "
            "a box, and this matrix has no interpolations between lattices: use gamg"
        )
    interpolations = operator.getAttr("interpolations")()
    pc.setType(PETSc.PC.Type.MG)
    pc.setMGLevels(len(interpolations) + 1)
    # PETSc counts lattices from the coarsest, which is number 0 and gets a factor.
    for number, interpolation in enumerate(reversed(interpolations), start=1):
        pc.setMGInterpolation(number, interpolation)
        _set_smoother(pc.getMGSmootherDown(number), "forward")
        _set_smoother(pc.getMGSmootherUp(number), "backward")
    set_from_options(pc, {"pc_mg_galerkin": "both"})


def _set_smoother(ksp: PETSc.KSP, order: str) -> None:
    """Make a KSP one sweep over the rows of this process in that order."""
    ksp.setType(PETSc.KSP.Type.RICHARDSON)
    ksp.setNormType(PETSc.KSP.NormType.NONE)
    ksp.setTolerances(max_it=1)
    ksp.setInitialGuessNonzero(order == "backward")
    ksp.getPC().setType(PETSc.PC.Type.SOR)
    set_from_options(ksp.getPC(), {f"pc_sor_local_{order}": None})
