# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Products and elementary functions have the same bits compiled and by NumPy, and are accurate."""

import hashlib
import os
import subprocess
import sys
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.sampling import portable

ULP = 2.0**-52
DRAWS = """
import hashlib
import sys
from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.problems.checks.drawing import Drawing
for name in sys.argv[1:]:
    digest = hashlib.sha256()
    settings = {"outline": "drawn"} if name == "thermal" else {}
    config = DatasetConfig(family=name, mesh={"points": 64}, parameters=settings)
    for values in Drawing(load_family(config))(0, 1).values():
        digest.update(values.tobytes())
    print(digest.hexdigest())
"""
#: They draw with all functions, and all boundary conditions of fields but the periodic.
DRAWN = (
    "darcy", "advection_diffusion", "helmholtz_absorbing", "reaction_diffusion", "poisson",
    "thermal",
)  # fmt: skip


def bits(values: np.ndarray) -> np.ndarray:
    return np.asarray(values).view(np.int64)


@given(st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 2**32 - 1))
def test_a_compiled_product_has_the_bits_of_numpys(shape: tuple[int, int, int], seed: int) -> None:
    rows, inner, columns = shape
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((rows, inner)), random.standard_normal((inner, columns))
    product = portable.multiply(a, b)
    np.testing.assert_array_equal(bits(product), bits(portable.multiply_by_numpy(a, b)))
    np.testing.assert_allclose(product, a @ b, rtol=0, atol=1e-13 * inner)


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_a_compiled_exponential_has_the_bits_of_numpys(values: list[float]) -> None:
    x = np.array(values)
    found, expected = portable.exponential(x), portable.exponential_by_numpy(x)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("x", [-700.0, -1.0, -1e-9, 0.0, 0.3466, 0.3467, 1.0, 23.5, 709.0])
def test_exponentials_are_accurate_to_two_units_in_the_last_place(x: float) -> None:
    getcontext().prec = 50
    exact = Decimal(x).exp()
    assert abs(Decimal(float(portable.exponential(x))) / exact - 1) <= 2 * ULP


@pytest.mark.parametrize("x", [1e-300, 0.1, 0.7071, 0.7072, 1.0, 1 + 1e-9, 3.0, 1e300])
def test_logarithms_are_accurate_to_two_units_in_the_last_place(x: float) -> None:
    getcontext().prec = 50
    exact = Decimal(x).ln()
    assert abs(Decimal(float(portable.logarithm(x))) - exact) <= 2 * Decimal(ULP) * abs(exact)


def test_exponentials_end_at_infinity_and_at_the_least_normal_number() -> None:
    found = portable.exponential([-np.inf, -1000.0, 710.0, np.inf, np.nan])
    assert found[0] == found[1] and 3.3e-308 < found[0] < 3.4e-308
    assert np.isposinf(found[2:4]).all() and np.isnan(found[4])


def test_waves_are_accurate_and_exact_at_multiples_of_a_right_angle() -> None:
    x = np.linspace(-20, 20, 1001)
    np.testing.assert_allclose(portable.sine(x), np.sin(x), rtol=0, atol=2 * ULP)
    np.testing.assert_allclose(portable.cosine(x), np.cos(x), rtol=0, atol=2 * ULP)
    np.testing.assert_allclose(portable.hyperbolic_tangent(x), np.tanh(x), rtol=0, atol=2 * ULP)
    n = np.arange(-24, 25)
    sines = portable.sine_of_fraction(n, 12)
    np.testing.assert_allclose(sines, np.sin(np.pi * n / 12), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(sines[n % 12 == 0], 0)
    np.testing.assert_array_equal(np.abs(sines[n % 12 == 6]), 1)
    np.testing.assert_array_equal(sines, -sines[::-1])


def draw(**environment: str) -> list[str]:
    """Return the digests of instances that another process draws."""
    done = subprocess.run(
        [sys.executable, "-c", DRAWS, *DRAWN],
        env=os.environ | environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.split()


def test_instances_have_the_same_bits_without_a_compiler_and_on_an_old_processor(tmp_path) -> None:
    """NumPy's own exp and log have not, on processors with AVX-512."""
    here = draw()
    assert len(set(here)) == len(DRAWN)
    assert draw(PATH="", CC="", XDG_CACHE_HOME=str(tmp_path)) == here
    old = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Prescott"}
    assert draw(**old) == here


def test_instances_have_the_bits_of_every_other_machine() -> None:
    """They belong to seed and number: a change of these digests is one of all datasets."""
    digest = hashlib.sha256("".join(draw()).encode()).hexdigest()
    assert digest == "32813163e7587502b2314d1a801997907d93fb18b616eba03ef2820abeb59ed6"
