# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands of benches: their options are those of the functions that measure."""

import inspect
import tomllib
from pathlib import Path

import pytest

from kryloset.bench import command_line
from kryloset.bench.command_line import Option
from kryloset.bench.tables import COLUMNS
from kryloset.errors import KrylosetError

BENCHES = tomllib.loads(
    Path(command_line.__file__).with_name("benches.toml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_has_the_options_of_its_command(name: str) -> None:
    module = pytest.importorskip(f"kryloset.bench.{name.replace('-', '_')}")
    parameters = inspect.signature(module.run).parameters
    required = {key for key, one in parameters.items() if one.default is inspect.Parameter.empty}
    assert required <= set(BENCHES[name]["options"]) <= set(parameters)
    assert name in COLUMNS or hasattr(module, "describe")


def test_given_values_override_the_defaults() -> None:
    option = Option("Systems.", default=20, quick=5, least=2)
    assert [option.settle("count", value, quick=True) for value in (None, 7)] == [5, 7]
    assert option.settle("count", None, quick=False) == 20
    with pytest.raises(KrylosetError, match="--count must be at least 2, got 1"):
        option.settle("count", 1, quick=False)
    switch = Option("Memory too.", "bool", default=True, quick=False)
    assert [switch.settle("memory", value, quick=True) for value in (None, True)] == [False, True]
    many = Option("Sizes.", default=[64, 100], quick=[64], least=2, many=True)
    assert many.settle("size", [], quick=False) == [64, 100]
    with pytest.raises(KrylosetError, match="--size must be at least 2, got 1"):
        many.settle("size", [8, 1], quick=False)
