# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Names, bounds and rules are defined once; configurations and solvers read them without PETSc."""

import subprocess
import sys
from typing import get_args

import pytest

import kryloset.krylov
from kryloset.config import SolverConfig
from kryloset.krylov import SequenceSolver
from kryloset.krylov.names import (
    DEFLATING_METHODS,
    FILL_LIMIT,
    METHODS,
    PRECONDITIONERS,
    Method,
    Preconditioner,
    check_fit,
)
from kryloset.krylov.workspace import CONTEXTS


def test_the_configuration_has_the_names_and_bounds_of_the_solvers():
    schema = SolverConfig.model_json_schema()["properties"]
    assert schema["method"]["enum"] == ["auto", "skr", *METHODS]
    assert list(METHODS) == [*get_args(Method)]
    assert schema["preconditioner"]["enum"] == list(PRECONDITIONERS) == [*get_args(Preconditioner)]
    assert schema["fill"]["maximum"] == FILL_LIMIT
    assert set(DEFLATING_METHODS) - {"hpddm"} == set(CONTEXTS)


def test_a_configuration_is_read_without_petsc():
    code = (
        "import sys; from kryloset.config import SolverConfig; SolverConfig(method='rcg'); "
        "assert not {'petsc4py', 'mpi4py', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_of_the_solvers_is_there():
    for name in kryloset.krylov.__all__:
        assert getattr(kryloset.krylov, name).__name__ == name
    with pytest.raises(AttributeError, match="'GCRO'"):
        _ = kryloset.krylov.GCRO


@pytest.mark.parametrize(
    ("method", "preconditioner", "traits", "message"),
    [
        ("rcg", "icc", {"definite": False}, "method rcg needs a symmetric definite"),
        ("minres", "none", {"symmetric": False}, "method minres needs a symmetric operator"),
        ("gmres", "icc", {"symmetric": False}, "preconditioner icc .* take ilu"),
        ("direct", "cholesky", {"symmetric": False}, "preconditioner cholesky .* take lu"),
        ("cg", "lu", {"singular": True}, "preconditioner lu: the operator is singular"),
        ("gcrodr", "ilu", {"saddle_point": True}, "take auto or direct"),
    ],
)
def test_what_does_not_fit_a_matrix_is_named(method, preconditioner, traits, message):
    fine = {"symmetric": True, "definite": True, "saddle_point": False, "singular": False}
    check_fit(method="auto", preconditioner="none", **fine)
    with pytest.raises(ValueError, match=message):
        check_fit(method=method, preconditioner=preconditioner, **(fine | traits))


@pytest.mark.parametrize("void", [{"fill": 2}, {"omega": 1.5}])
def test_settings_that_a_preconditioner_has_not_are_refused(void):
    with pytest.raises(ValueError, match="preconditioner jacobi has no"):
        SequenceSolver("cg", "jacobi", **void)


def test_a_change_of_preconditioner_drops_the_settings_of_the_old_one():
    filled = SequenceSolver("cg", "icc", fill=2)
    swept = filled.change(preconditioner="sor", omega=1.5)
    assert (swept.fill, swept.omega) == (0, 1.5)
    assert swept.change(preconditioner="icc", fill=2) == filled
