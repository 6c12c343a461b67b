# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What orders cost and how short their paths are, from a thousand instances to a million."""

import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.staged import StagedFile, create_staged
from kryloset.errors import KrylosetError
from kryloset.ordering import ORDERS, steps
from kryloset.ordering.features import REDUCTIONS, principal_axes
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.provenance import versions
from kryloset.sampling import generator

type Array = NDArray[np.float64]

FIELDS, QUICK_FIELDS = 5_000, 1_000
"""Default Darcy permeabilities that all orders by all features are compared on."""

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (1_000, 10_000)
"""Instances with generated features, on which growth is measured."""

FILE = 100_000
"""Fields of 64 x 64 in the file that `kryloset sort` is measured on."""

MODES = 6
"""Generated features are coefficients of MODES x MODES cosines."""

LIMITS = {"greedy": 10_000, "or_opt": 10_000}
"""Instances up to which these orders are measured; others have no limit."""

SAMPLE = 1024
"""Fields that principal axes are those of."""

RATIO, SECONDS, MEGABYTES, GROWTH = 1.25, 60.0, 2_000.0, 1.15
"""Goals: path to the exact greedy chain; the stage on `FILE`; exponent of seconds by instances."""


def measure_fields(count: int, show: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Sort default Darcy permeabilities by every kind of features in every order.

    The length of a path is that by the fields themselves, whatever they were sorted by.

    Args:
        count: Instances.
        show: Called with every row as soon as it is there.

    Returns:
        Rows as of `run`; `seconds_features` are those of making features from fields in
        memory.
    """
    family = load_family(DatasetConfig())
    drawing = track(range(count), "drawing instances")
    fields = np.stack([family.draw(generator(0, i))["k"] for i in drawing])
    whole = fields.reshape(count, -1)
    kinds: dict[str, Callable[[], Array]] = {"parameters": lambda: whole}
    for name, reduction in REDUCTIONS.items():
        kinds[name] = lambda reduction=reduction: reduction(fields, 144)  # type: ignore[misc]
    kinds["principal"] = lambda: whole @ principal_axes(whole[:: max(1, count // SAMPLE)])
    given = float(steps(whole, np.arange(count)).sum())
    exact = None
    rows = []
    for kind, make in kinds.items():
        began = time.process_time()
        features = make()
        seconds_features = time.process_time() - began
        for name in ("greedy", "hilbert", "or_opt", "spanning_tree"):
            if kind == "parameters" and name != "greedy":
                continue
            began = time.process_time()
            order = ORDERS[name](features)
            seconds = time.process_time() - began
            path = float(steps(whole, order).sum())
            exact = path if exact is None else exact
            rows.append(
                {
                    "table": "fields",
                    "instances": count,
                    "features": kind,
                    "order": name,
                    "seconds": seconds,
                    "seconds_features": seconds_features,
                    "to_greedy": path / exact,
                    "to_given": path / given,
                }
            )
            show(rows[-1])
    return rows


def measure_generated(name: str, count: int) -> dict[str, Any]:
    """Sort generated features, in this process.

    They are Gaussian, with the deviations of the coefficients of a Gaussian field as the
    default Darcy log-permeability: those of cos(i pi x) cos(j pi y) are in proportion to
    1 / (1 + pi^2 (i^2 + j^2) / 9).

    Returns:
        A row as of `run`, but for `to_greedy`. `memory_mb` is the most that the process
        ever had, its programs and the features included.
    """
    i, j = np.divmod(np.arange(1, MODES**2), MODES)
    deviations = 1 / (1 + np.pi**2 * (i**2 + j**2) / 9)
    features = np.random.default_rng(0).standard_normal((count, len(deviations)))
    features *= deviations
    began = time.process_time()
    order = ORDERS[name](features)
    seconds = time.process_time() - began
    path = float(steps(features, order).sum())
    return {
        "table": "generated",
        "instances": count,
        "features": f"{len(deviations)} numbers",
        "order": name,
        "seconds": seconds,
        "memory_mb": _peak_megabytes(),
        "path": path,
        "to_given": path / float(steps(features, np.arange(count)).sum()),
    }


def _peak_megabytes() -> float:
    """Return the most memory this process ever had, without what its parent had at its start."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def measure_sizes(
    sizes: Sequence[int], show: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Sort generated features of several sizes, each in a process of its own."""
    rows: list[dict[str, Any]] = []
    for count in sizes:
        exact = None
        for name in ORDERS:
            if name == "given" or count > LIMITS.get(name, count):
                continue
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure_generated, (name, count))
            path = row.pop("path")
            exact = path if name == "greedy" else exact
            row["to_greedy"] = None if exact is None else path / exact
            rows.append(row)
            show(row)
    return rows


def measure_file(count: int = FILE) -> dict[str, Any]:
    """Run `kryloset sort` on a file of permeabilities of 64 x 64, with default settings.

    The fields are exp(g cos a + h sin a) with angles a drawn, and g and h of the logarithms
    of 2,000 default Darcy permeabilities: as many Gaussian fields, quickly made.

    Returns:
        A row as of `run`; `seconds_features` is with reading the file, `seconds_all` that of
        the command from its start to its end.
    """
    family = load_family(DatasetConfig())
    drawing = track(range(min(count, 2000)), "drawing instances")
    logarithms = np.stack([np.log(family.draw(generator(0, i))["k"]) for i in drawing])
    random = np.random.default_rng(0)
    with TemporaryDirectory(prefix="kryloset-") as folder:
        config, parameters, order = (
            Path(folder, name) for name in ("config.yaml", "parameters.h5", "order.h5")
        )
        dataset = {"count": count, "chunks": min(count, 100)}
        config.write_text(yaml.safe_dump({"datasets": {"darcy": dataset}}))
        with create_staged(parameters) as file:
            file.attrs["config"] = config.read_text()
            for begin in track(range(0, count, 500), "writing fields, 500 at a time"):
                length = min(500, count - begin)
                g, h = logarithms[random.integers(0, len(logarithms), (2, length))]
                angle = random.uniform(0, 2 * np.pi, (length, 1, 1))
                for k in np.exp(g * np.cos(angle) + h * np.sin(angle)):
                    file.row("parameters/k", k, count)
        command = [sys.executable, "-m", "kryloset", "sort", str(config), "darcy"]
        command += ["--parameters", str(parameters), "--output", str(order)]
        log = Path(folder, "log")
        began = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            # The peak is this child's, but at least that of this process before it.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise KrylosetError(f"`{' '.join(command)}` failed:\n{log.read_text()}")
        with StagedFile(order) as file:
            return {
                "table": "file",
                "instances": count,
                "features": str(file.attrs["features_kind"]),
                "order": str(file.attrs["method"]),
                "seconds": float(file.attrs["seconds"]),
                "seconds_features": float(file.attrs["seconds_features"]),
                "seconds_all": seconds,
                "memory_mb": usage.ru_maxrss * 1024 / 1e6,
                "to_greedy": None,
                "to_given": float(file.array("steps").sum() / file.array("steps_given").sum()),
            }


def judge(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare what was measured with the goals.

    Args:
        rows: As of `run`.

    Returns:
        A goal each: `text`, `case`, `figure`, `limit` and `met`, ready for JSON.
    """
    goals = []

    def add(text: str, case: str, figure: float, limit: float) -> None:
        goals.append(
            {"text": text, "case": case, "figure": figure, "limit": limit, "met": figure <= limit}
        )

    for row in rows:
        case = f"{row['order']}, {row['instances']:,} instances"
        if row["table"] == "fields" and row["features"] == "cosines" and row["order"] != "greedy":
            add("path / exact greedy path, at most", case, row["to_greedy"], RATIO)
        if row["table"] == "file":
            add("seconds of `kryloset sort`, reading included, at most", case,
                row["seconds_all"], SECONDS)  # fmt: skip
            add("MB of `kryloset sort`, at most", case, row["memory_mb"], MEGABYTES)
    generated = [row for row in rows if row["table"] == "generated" and row["order"] != "greedy"]
    for name in dict.fromkeys(row["order"] for row in generated):
        same = [row for row in generated if row["order"] == name]
        first, last = same[0], same[-1]
        if first["instances"] != last["instances"]:
            growth = math.log(last["seconds"] / first["seconds"])
            growth /= math.log(last["instances"] / first["instances"])
            case = f"{name}, {first['instances']:,} to {last['instances']:,} instances"
            add("p, seconds growing as instances^p, at most", case, growth, GROWTH)
    return goals


def run(
    *,
    fields: int = FIELDS,
    sizes: Sequence[int] = SIZES,
    file: int | None = FILE,
    show: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Measure all and judge it.

    Args:
        fields: Permeabilities on which orders and features are compared.
        sizes: Instances with generated features.
        file: Fields in the file that `kryloset sort` is measured on (33 kB each); None to
            leave that out.
        show: Called with every row as soon as it is there.

    Returns:
        `versions`, `rows` and `goals`, ready for JSON. A row has `table` (`fields`,
        `generated` or `file`), `instances`, `features`, `order`, `seconds` of the order
        (those of the processor, which do not tell what else the machine did; of `file` those
        that went by), `seconds_features`, `seconds_all`, `memory_mb`, and the length of
        the path relative to the exact greedy one (`to_greedy`) and that as drawn
        (`to_given`), where measured.

    Raises:
        KrylosetError: A number is out of range, or `kryloset sort` failed.
    """
    for option, value in (
        ("--fields", fields),
        ("--file", file or 2),
        *(("--size", n) for n in sizes),
    ):
        if value < 2:
            raise KrylosetError(f"{option} must be at least 2, got {value}")
    rows = measure_sizes(sizes, show)
    # Before this process grows, since no peak of a child is below its own.
    if file is not None:
        rows.append(measure_file(file))
        show(rows[-1])
    rows += measure_fields(fields, show)
    return {"versions": versions(), "rows": rows, "goals": judge(rows)}


COLUMNS = {
    "instances": ("instances", "{:>11,}"),
    "features": ("features", "{:<12}"),
    "order": ("order", "{:<15}"),
    "seconds": ("sort s", "{:>8.2f}"),
    "seconds_features": ("features s", "{:>10.2f}"),
    "seconds_all": ("all s", "{:>7.1f}"),
    "memory_mb": ("peak MB", "{:>9,.0f}"),
    "to_greedy": ("/ greedy", "{:>9.3f}"),
    "to_given": ("/ drawn", "{:>9.3f}"),
}
"""Headings and formats by what a row has."""


def describe_row(row: Mapping[str, Any] | None, *, markdown: bool = False) -> str:
    """Return a line of the table for people, or for None its heading."""
    cells = []
    for key, (heading, form) in COLUMNS.items():
        value = heading if row is None else row.get(key)
        # Headings are as wide as what is below them, and on the same side.
        plain = form.split(".")[0].replace(",", "").removesuffix("}") + "}"
        cells.append(
            form.format(value) if row and value is not None else plain.format(value or "–")
        )
    if not markdown:
        return " ".join(cells)
    line = f"| {' | '.join(cell.strip() for cell in cells)} |"
    if row is not None:
        return line
    rules = ("---" if "<" in form else "---:" for _, form in COLUMNS.values())
    return f"{line}\n| {' | '.join(rules)} |"


def describe_goals(goals: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Return the goals as lines for people, or as a Markdown table."""
    if markdown:
        lines = ["| goal | case | measured | limit | |", "| --- | --- | ---: | ---: | --- |"]
    else:
        lines = []
    for goal in goals:
        verdict = "met" if goal["met"] else "missed"
        text, case = goal["text"], goal["case"]
        figure, limit = f"{goal['figure']:.3g}", f"{goal['limit']:,g}"
        if markdown:
            lines.append(f"| {text} | {case} | {figure} | {limit} | {verdict} |")
        else:
            lines.append(f"{verdict:<7}{case}: {text} {limit}: {figure}")
    return "\n".join(lines) + "\n"
