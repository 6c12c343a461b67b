# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The compiled products equal NumPy's, and NumPy takes over without a compiler."""

import ctypes.util
import logging
import re
import sys

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset import compiler
from kryloset.krylov.methods import dense
from kryloset.krylov.methods.dense import Basis, combine, inner
from kryloset.krylov.native import kernels

# Below, at and above every number of rows that the C code handles at once.
ROWS = st.sampled_from([0, 1, 3, 4, 11, 12, 13, 191, 192, 193, 400, 2047, 2048, 2049, 4500])
COLUMNS = st.integers(0, 13)


def block(rng, rows, columns):
    return np.asfortranarray(rng.standard_normal((rows, columns)))


@settings(max_examples=150)
@given(ROWS, COLUMNS, COLUMNS, st.integers(0, 99))
def test_inner_is_the_product(rows, p, q, seed):
    rng = np.random.default_rng(seed)
    a, b = block(rng, rows, p), block(rng, rows, q)
    np.testing.assert_allclose(inner(a, b), a.T @ b, rtol=0, atol=1e-11)
    np.testing.assert_allclose(inner(a, a), a.T @ a, rtol=0, atol=1e-11)


@settings(max_examples=150)
@given(ROWS, COLUMNS, COLUMNS, st.integers(1, 13), st.integers(0, 99))
def test_combine_is_the_sum_of_products_also_over_its_own_blocks(rows, p, q, k, seed):
    rng = np.random.default_rng(seed)
    whole = block(rng, rows, p + k)
    a, b = whole[:, :p], block(rng, rows, q)
    s, t = rng.standard_normal((p, k)), rng.standard_normal((q, k))
    expected = a @ s + b @ t
    beyond = whole[:, k:].copy()
    combine(whole[:, :k], (a, s), (b, t))
    np.testing.assert_allclose(whole[:, :k], expected, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(whole[:, k:], beyond)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("rows", [1, 50, 3000])
def test_a_pass_of_gram_schmidt(compiled, rows, rng, monkeypatch):
    if not compiled:
        monkeypatch.setattr(dense, "load_kernels", lambda: None)
    basis = Basis(rows, 8, MPI.COMM_SELF)
    basis.array[:] = rng.standard_normal((rows, 8))
    leading, last = basis.array[:, :5].copy(), basis.array[:, 5:7].copy()
    products = basis.inner(7, 2).copy()
    np.testing.assert_allclose(products, basis.array[:, :7].conj().T @ last, atol=1e-11)
    basis.project(7, 0.5, -2.0, 3.0)
    expected = (last - leading @ products[:5]) @ np.array([[0.5, -2.0], [0.0, 3.0]])
    np.testing.assert_allclose(basis.array[:, 5:7], expected, atol=1e-9)
    one = basis.array[:, 6].copy()
    products = basis.inner(7, 1).copy()
    basis.project(7, 2.0)
    expected = 2.0 * (one - basis.array[:, :6] @ products[:6, 0])
    np.testing.assert_allclose(basis.array[:, 6], expected, atol=1e-7 * abs(expected).max())


def test_a_row_major_block_is_refused(rng):
    rows, columns = rng.standard_normal((50, 4)), block(rng, 50, 4)
    with pytest.raises(ValueError, match="column-major"):
        inner(rows, columns)
    with pytest.raises(ValueError, match="column-major"):
        combine(rows, (columns, np.eye(4)))


@pytest.fixture
def uncached():
    kernels.load_kernels.cache_clear()
    yield
    kernels.load_kernels.cache_clear()


def test_without_a_compiler_it_goes_on_and_says_so(monkeypatch, tmp_path, caplog, rng, uncached):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler -std=c99")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    a = block(rng, 100, 5)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(inner(a, a), a.T @ a)
        inner(a, a)
    (record,) = caplog.records
    assert "no-such-compiler" in record.message and "install a C compiler" in record.message
    out = np.zeros((100, 2), order="F")
    combine(out, (a, np.ones((5, 2))), (a[:, :1], np.ones((1, 2))))
    np.testing.assert_allclose(out, (a.sum(axis=1) + a[:, 0])[:, None] * np.ones(2))


def test_the_library_is_compiled_once_for_a_source_and_a_processor(monkeypatch, tmp_path, uncached):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "FLAGS", ("-O0", "-std=gnu11"))  # compiled in a second
    assert kernels.load_kernels() is not None
    (library,) = (tmp_path / "kryloset").glob("*.so")
    written = library.stat().st_mtime_ns
    kernels.load_kernels.cache_clear()
    kernels.load_kernels()
    assert library.stat().st_mtime_ns == written
    monkeypatch.setattr(compiler, "processor", lambda: "another")
    kernels.load_kernels.cache_clear()
    kernels.load_kernels()
    assert len(list((tmp_path / "kryloset").glob("*.so"))) == 2


def test_a_compiler_that_fails_is_named(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no licence >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(OSError, match=r"broken -O3 .* failed: no licence"):
        compiler.compile_library("none", ["source"], ["-O3"], lambda: ["source"])


def test_declarations_are_parsed_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    declarations = "struct pair { double x; int64_t n; }; double cos(double x);"
    compiler.read_declarations(declarations)
    monkeypatch.setitem(sys.modules, "cffi", None)
    found = compiler.read_declarations(declarations)
    assert found.new("struct pair *", (1.5, 2)).n == 2
    assert found.dlopen(ctypes.util.find_library("m")).cos(0.0) == 1.0
    with pytest.raises(ImportError):
        compiler.read_declarations("int other(void);")


def test_blocks_are_of_petscs_numbers():
    assert Basis(3, 2, MPI.COMM_SELF).array.dtype == np.dtype(PETSc.ScalarType)


def test_prototypes_are_those_of_the_sources():
    source = """
static int helper(int n)
{
}
int kryloset_one(ptrdiff_t n, const double *a,
                 float *out, int64_t *rows)
{
  kryloset_other(1);
}
"""
    found = kernels.read_prototypes([source])
    assert " ".join(found.split()) == (
        "int kryloset_one(ptrdiff_t n, uintptr_t a, uintptr_t out, uintptr_t rows);"
    )
    texts = [path.read_text() for path in kernels.SOURCES]
    defined = {name for text in texts for name in re.findall(r"^\w+ (kryloset_\w+)\(", text, re.M)}
    assert set(re.findall(r"kryloset_\w+", kernels.read_prototypes(texts))) == defined
    assert defined and "*" not in kernels.read_prototypes(texts)
