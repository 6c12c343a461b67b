# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench`: a command for each question; `benches.toml` has their texts and options."""

import inspect
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.errors import KrylosetError
from kryloset.threads import keep_blas_to_one_thread

bench = typer.Typer(rich_markup_mode=None)

TYPES: Mapping[str, type] = {"bool": bool, "float": float, "int": int, "str": str}


@dataclass(frozen=True)
class Option:
    """An option of a bench, or an argument; `benches.toml` says what the fields mean."""

    help: str
    type: str = "int"
    default: Any = None
    quick: Any = None
    least: float | None = None
    many: bool = False
    argument: bool = False

    def make_parameter(self, name: str) -> inspect.Parameter:
        """Return the parameter that typer makes an option or an argument of."""
        text = [self.help]
        defaults = [self._shown(self.default)] if self.default not in (None, []) else []
        defaults += [] if self.quick is None else [f"quick {self._shown(self.quick)}"]
        if defaults:
            text.append(f"[default: {', '.join(defaults)}]")
        make = typer.Argument if self.argument else typer.Option
        kind = TYPES[self.type]
        values: Any = list[kind] if self.many else kind  # type: ignore[valid-type]
        annotation = Annotated[values | None, make(help=" ".join(text), show_default=False)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, keyword, default=None, annotation=annotation)

    @staticmethod
    def _shown(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    def settle(self, name: str, value: Any, quick: bool) -> Any:
        """Return the value that counts.

        Raises:
            KrylosetError: It is too small.
        """
        if value is None or value == []:
            return self.default if not quick or self.quick is None else self.quick
        for one in value if self.many else [value]:
            if self.least is not None and one < self.least:
                option = name if self.argument else f"--{name.replace('_', '-')}"
                raise KrylosetError(f"{option} must be at least {self.least:g}, got {one:g}")
        return value


def _add(name: str, text: str, options: Mapping[str, Option]) -> None:
    """Add the command of a bench."""

    def command(quick: bool, json: Path | None, **given: Any) -> None:
        keep_blas_to_one_thread()
        values = {key: option.settle(key, given[key], quick) for key, option in options.items()}
        module = import_module(f"kryloset.bench.{name.replace('-', '_')}")
        if "quick" in inspect.signature(module.run).parameters:
            values["quick"] = quick
        answer(module, values, json)

    yes = Annotated[bool, typer.Option("--quick", help="A first impression.")]
    file = Annotated[Path | None, typer.Option(help="Write all rows to this file too.")]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        *(option.make_parameter(key) for key, option in options.items()),
        inspect.Parameter("quick", keyword, default=False, annotation=yes),
        inspect.Parameter("json", keyword, default=None, annotation=file),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    bench.command(name, help=text)(command)


def answer(module: Any, values: Mapping[str, Any], json: Path | None) -> None:
    """Run a bench, print what it finds as soon as it is there, and write its rows."""
    from json import dumps

    from kryloset.bench.goals import GOAL_COLUMNS
    from kryloset.dataset.atomic import write_text_whole
    from kryloset.provenance import versions

    def say(text: str) -> None:
        if text and _is_first_rank():
            typer.echo(f"{text.rstrip()}\n")

    name = module.__name__.rpartition(".")[2]
    describe = getattr(module, "describe", None) or partial(tabulate, columns=COLUMNS[name])
    rows: list[Row] = []
    for found in module.run(**values):
        say(describe(found))
        rows += found
    if hasattr(module, "conclude"):
        say(module.conclude(rows))
    goals = [goal.to_row() for goal in module.judge(rows)] if hasattr(module, "judge") else []
    say(tabulate(goals, GOAL_COLUMNS) if goals else "")
    if json is not None and _is_first_rank():
        whole = {
            "bench": name,
            "command": " ".join(["kryloset", *sys.argv[1:]]),
            "commit": _commit(),
            "versions": versions(),
            "rows": rows,
            "goals": goals,
        }
        write_text_whole(json, dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _commit() -> str | None:
    """Return the commit of the clone that the package is in, None where it is in none."""
    command = ["git", "describe", "--always", "--dirty"]
    options: Any = {"cwd": Path(__file__).parent, "capture_output": True, "text": True}
    with suppress(OSError):
        return subprocess.run(command, check=False, **options).stdout.strip() or None
    return None


def _is_first_rank() -> bool:
    """Return whether this is the process that speaks for all."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is None or mpi.COMM_WORLD.rank == 0


BENCHES = tomllib.loads(Path(__file__).with_name("benches.toml").read_text("utf-8"))
for _name, _found in BENCHES.items():
    _options = {key: Option(**given) for key, given in _found["options"].items()}
    _add(_name, _found["help"], _options)


@bench.command()
def page(
    printed: Annotated[
        list[Path], typer.Argument(help="What benches printed, in files named as they are.")
    ],
    output: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
) -> None:
    """Show what benches printed on one page."""
    from kryloset.dataset.atomic import write_text_whole
    from kryloset.report.yardstick import render_printed

    texts = {path.stem: path.read_text(encoding="utf-8") for path in printed}
    write_text_whole(output, render_printed(texts))
