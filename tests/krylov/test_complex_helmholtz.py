# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Absorbed waves as one complex system, which only a PETSc of complex numbers can solve."""

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import pytest
import ufl
from dolfinx import fem

from kryloset.config import DatasetConfig
from kryloset.fem.unknowns import Unknowns
from kryloset.krylov import SequenceSolver
from kryloset.problems import load_family
from kryloset.sampling import generator

pytestmark = pytest.mark.skipif(
    np.dtype(PETSc.ScalarType).kind != "c", reason="PETSc of real numbers: see `make complex`"
)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_complex_system_has_the_solution_of_the_real_blocks(degree: int) -> None:
    family = load_family(
        DatasetConfig(
            family="helmholtz_absorbing",
            mesh={"points": 33, "degree": degree},
            parameters={"wavelengths": 2},
        )
    )
    blocks = family.discretise(MPI.COMM_SELF)
    domain = blocks.elements.domain
    space = fem.functionspace(domain, ("Lagrange", degree))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k, f = (blocks.elements.parameters[name] for name in "kf")
    ds = ufl.ds(metadata={"quadrature_degree": 3 * degree})
    a = family.integrate_inside(u, v, k) - 1j * k * ufl.inner(u, v) * ds
    a, load = fem.form(a), fem.form(-ufl.inner(f, v) * ufl.dx)

    solver, shape = SequenceSolver("direct", tolerance=1e-10), (33, 33)
    states = [solver.init(), solver.init()]
    for index in range(2):
        instance = family.draw(generator(0, index))

        def solve(matrix: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
            result, states[0] = solver.solve(matrix, rhs, states[0])
            return result.solution

        (stored,) = blocks.solve([instance], solve)
        matrix = dolfinx.fem.petsc.assemble_matrix(a)
        matrix.assemble()
        result, states[1] = solver.solve(matrix, dolfinx.fem.petsc.assemble_vector(load), states[1])
        whole = Unknowns(space).gather(result.solution.array_r).reshape(shape)
        expected = stored["u_real"] + 1j * stored["u_imag"]
        assert abs(stored["u_imag"].imag).max() <= 1e-14 * abs(stored["u_imag"]).max()
        assert np.linalg.norm(whole - expected) < 1e-9 * np.linalg.norm(expected)
        # Half of the unknowns: the block system is the complex one, written out.
        assert 2 * matrix.size[0] == blocks.system.matrix.size[0]
