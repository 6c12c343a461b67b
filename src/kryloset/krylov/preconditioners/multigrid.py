# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Geometric multigrid: PETSc's V-cycle on interpolations that are attached to a matrix.

With P_l the interpolation to lattice l, the operator on the next coarser lattice is P_l' A_l P_l.
New entries of A need only these products and a factor of the coarsest operator. On each lattice a
cycle smooths with a Gauss-Seidel sweep on the way down and with one in the opposite order on the
way up, so that it is symmetric, and definite, if A is (W. Hackbusch, Multi-Grid Methods and
Applications, 1985, sections 3.4 and 7.2).

The attribute `interpolations` of a Mat is a function that returns them, the one to A's own rows
first. The code that makes a matrix attaches it, as `kryloset.fem.lattices` does.
"""

from collections.abc import Sequence

from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.options import set_from_options


def has_interpolations(operator: PETSc.Mat) -> bool:
    """Return whether a matrix has the interpolations that geometric multigrid needs."""
    return operator.getAttr("interpolations") is not None


def read_interpolations(operator: PETSc.Mat) -> Sequence[PETSc.Mat]:
    """Return the interpolations of a matrix, the one to its own rows first.

    Raises:
        KrylosetError: if it has none.
    """
    if not has_interpolations(operator):
        raise KrylosetError(
            "preconditioner multigrid needs the unknowns of Lagrange elements on a box, and "
            "this matrix has no interpolations between lattices: use gamg"
        )
    return list(operator.getAttr("interpolations")())


def set_multigrid(pc: PETSc.PC, operator: PETSc.Mat) -> None:
    """Make a preconditioner the V-cycle of a matrix. The caller sets it up. Collective.

    Args:
        pc: of that matrix.
        operator: with the attribute `interpolations`.

    Raises:
        KrylosetError: if the attribute is missing.
    """
    interpolations = read_interpolations(operator)
    pc.setType(PETSc.PC.Type.MG)
    pc.setMGLevels(len(interpolations) + 1)
    # PETSc counts lattices from the coarsest, which is number 0 and gets a factor.
    for number, interpolation in enumerate(reversed(interpolations), start=1):
        pc.setMGInterpolation(number, interpolation)
        _set_smoother(pc.getMGSmootherDown(number), "forward")
        _set_smoother(pc.getMGSmootherUp(number), "backward")
    set_from_options(pc, {"pc_mg_galerkin": "both"})


def _set_smoother(ksp: PETSc.KSP, order: str) -> None:
    """Make a KSP one sweep over the rows of this process, `forward` or `backward`."""
    ksp.setType(PETSc.KSP.Type.RICHARDSON)
    ksp.setNormType(PETSc.KSP.NormType.NONE)
    ksp.setTolerances(max_it=1)
    ksp.setInitialGuessNonzero(order == "backward")
    ksp.getPC().setType(PETSc.PC.Type.SOR)
    set_from_options(ksp.getPC(), {f"pc_sor_local_{order}": None})
