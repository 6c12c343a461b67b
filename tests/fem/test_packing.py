# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Coefficients that are gathered by a table are those that DOLFINx packs, bit for bit."""

from mpi4py import MPI

import basix.ufl
import dolfinx
import numpy as np
import pytest
import ufl
from dolfinx import fem

from kryloset.fem.packing import Packing

ELEMENTS = {
    "linear": ("Lagrange", 1, None),
    "quadratic vectors": ("Lagrange", 2, (2,)),
    "edges, whose signs no table gives": ("N1curl", 1, None),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_packed_coefficients_are_those_of_dolfinx(name, monkeypatch):
    family, degree, shape = ELEMENTS[name]
    domain = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 4, 3)
    element = basix.ufl.element(family, domain.basix_cell(), degree, shape=shape)
    space = fem.functionspace(domain, element)
    k, u = fem.Function(fem.functionspace(domain, ("Lagrange", 1))), fem.Function(space)
    v = ufl.TestFunction(space)
    form = fem.form(k * ufl.inner(u, v) * ufl.dx + k * ufl.inner(u, v) * ufl.ds)
    u.x.array[:] = kept = np.arange(len(u.x.array)) + 0.5
    packing = Packing(form)
    np.testing.assert_array_equal(u.x.array, kept)
    random = np.random.default_rng(1)
    for function in (k, u):
        function.x.array[:] = random.standard_normal(len(function.x.array))
    expected = fem.pack_coefficients(form)
    if family == "Lagrange":
        monkeypatch.setattr(fem, "pack_coefficients", None)  # It has learnt.
    found = packing()
    assert found.keys() == expected.keys() and len(found) == 2
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
