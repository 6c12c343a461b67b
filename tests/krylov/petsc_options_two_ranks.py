# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Run by test_petsc_options.py on two ranks: options change what each rank's block does."""

from mpi4py import MPI

import numpy as np
from systems import laplacian, refill, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver

comm = MPI.COMM_WORLD
mat = to_mat(laplacian(20), comm)
b = to_vec(mat, np.random.default_rng(0).standard_normal(400))


def count(method, preconditioner, **options):
    """Return the iterations for two matrices in one Mat."""
    solver = SequenceSolver(method, preconditioner, petsc_options=options)
    state, counts = solver.init(), []
    for factor in (1.0, 2.0):
        refill(mat, factor * laplacian(20))
        result, state = solver.solve(mat, b, state)
        assert result.converged
        counts.append(result.iterations)
    return counts


plain = count("cg", "icc")
ordered = count("cg", "icc", sub_pc_factor_mat_ordering_type="nd")
assert ordered[0] != plain[0], (plain, ordered)
complete = count("gmres", "ilu", sub_pc_type="lu")
assert complete[0] < count("gmres", "ilu")[0]
assert count("cg", "gamg", mg_levels_ksp_max_it=4)[0] < count("cg", "gamg")[0]
try:
    count("cg", "jacobi", pc_misspelt=1)
except KrylosetError as error:
    assert "pc_misspelt" in str(error)
else:
    raise AssertionError("an option that is not read passes")
