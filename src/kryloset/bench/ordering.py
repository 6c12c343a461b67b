# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What do orders cost, and how short are their paths, from a thousand instances to a million?"""

import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from numpy.typing import NDArray

from kryloset.bench.goals import Goal, process_memory, timed
from kryloset.bench.tables import Row, grouped
from kryloset.config import DatasetConfig
from kryloset.dataset.staged import StagedFile
from kryloset.errors import KrylosetError
from kryloset.ordering import ORDERS, steps
from kryloset.ordering.features import REDUCTIONS, principal_axes
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.run import files
from kryloset.sampling import generator

type Array = NDArray[np.float64]

MODES = 6
"""Generated features are coefficients of MODES x MODES cosines."""

LIMITS = {"greedy": 10_000, "or_opt": 10_000}
"""Instances up to which these orders are measured; others have no limit."""

SAMPLE = 1024
"""Fields that principal axes are those of."""

RATIO, SECONDS, MEGABYTES, GROWTH = 1.25, 600.0, 600.0, 1.15
"""Goals: path to the exact greedy chain; the stage; exponent of seconds by instances."""


def draw_permeabilities(count: int) -> Array:
    """Return (count, 64, 64), the permeabilities of the first default Darcy instances."""
    family = load_family(DatasetConfig())
    drawing = track(range(count), "drawing instances")
    return np.stack([family.draw(generator(0, i))["k"] for i in drawing])


def measure_fields(count: int) -> list[Row]:
    """Sort default Darcy permeabilities by every kind of features in every order.

    The length of a path is that by the fields themselves, whatever they were sorted by.
    `seconds_features` are those of making features from fields in memory.
    """
    fields = draw_permeabilities(count)
    whole = fields.reshape(count, -1)
    kinds: dict[str, Callable[[], Array]] = {"parameters": lambda: whole}
    for name, reduction in REDUCTIONS.items():
        kinds[name] = partial(reduction, fields, 144)
    kinds["principal"] = lambda: whole @ principal_axes(whole[:: max(1, count // SAMPLE)])
    given = float(steps(whole, np.arange(count)).sum())
    exact = None
    rows = []
    for kind, make in kinds.items():
        features, seconds_features = timed(make)
        for name in ("greedy", "hilbert", "or_opt", "spanning_tree"):
            if kind == "parameters" and name != "greedy":
                continue
            order, seconds = timed(partial(ORDERS[name], features))
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
    return rows


def measure_generated(name: str, count: int) -> Row:
    """Sort generated features, in this process.

    They are Gaussian, with the deviations of the coefficients of a Gaussian field as the
    default Darcy log-permeability: those of cos(i pi x) cos(j pi y) are in proportion to
    1 / (1 + pi^2 (i^2 + j^2) / 9). `memory_mb` is the most that the process ever had, its programs
    and the features included; `path` is the length.
    """
    i, j = np.divmod(np.arange(1, MODES**2), MODES)
    deviations = 1 / (1 + np.pi**2 * (i**2 + j**2) / 9)
    features = np.random.default_rng(0).standard_normal((count, len(deviations)))
    features *= deviations
    order, seconds = timed(partial(ORDERS[name], features))
    memory, path = process_memory("VmHWM"), float(steps(features, order).sum())
    return {
        "table": "generated",
        "instances": count,
        "features": f"{len(deviations)} numbers",
        "order": name,
        "seconds": seconds,
        "memory_mb": None if memory is None else memory / 1e6,
        "path": path,
        "to_given": path / float(steps(features, np.arange(count)).sum()),
    }


def measure_sizes(sizes: Sequence[int]) -> list[Row]:
    """Sort generated features of several sizes, each in a process of its own."""
    rows: list[Row] = []
    for count in track(sizes, "sorting generated features"):
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
    return rows


def measure_stage(count: int) -> Row:
    """Run `kryloset sort` on a dataset of permeabilities of 64 x 64, with default settings.

    `seconds_all` are the processor's of the command from its start to its end: drawing, features,
    order and file. `memory_mb` is the most that it had.
    """
    with TemporaryDirectory(prefix="kryloset-") as folder:
        config, order = (Path(folder, name) for name in ("config.yaml", "order.h5"))
        dataset = {"count": count, "chunks": min(count, 100)}
        config.write_text(yaml.safe_dump({"datasets": {"darcy": dataset}}))
        command = [sys.executable, "-m", "kryloset", "sort", str(config), "darcy"]
        command += ["--output", str(order)]
        log = Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            # The peak is this child's, but at least that of this process before it.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise KrylosetError(f"`{' '.join(command)}` failed:\n{log.read_text()}")
        with StagedFile(order) as file:
            return {
                "table": "stage",
                "instances": count,
                "features": str(file.attrs[files.FEATURES_KIND]),
                "order": str(file.attrs[files.METHOD]),
                "seconds_all": usage.ru_utime + usage.ru_stime,
                "memory_mb": usage.ru_maxrss * 1024 / 1e6,
                "to_given": float(
                    file.array(files.STEPS).sum() / file.array(files.STEPS_GIVEN).sum()
                ),
            }


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare what was measured with the goals."""
    goals = []
    for row in rows:
        case = f"{row['order']}, {row['instances']:,} instances"
        if row["table"] == "fields" and row["features"] == "cosines" and row["order"] != "greedy":
            goals.append(Goal("path / exact greedy path", case, row["to_greedy"], RATIO))
        if row["table"] == "stage":
            goals.append(Goal("MB of `kryloset sort`", case, row["memory_mb"], MEGABYTES))
    stages = [row for row in rows if row["table"] == "stage"]
    if len(stages) > 1:
        (first, least), (last, most) = (
            (row["instances"], row["seconds_all"]) for row in (stages[0], stages[-1])
        )
        million = most + (1_000_000 - last) * (most - least) / (last - first)
        text = "seconds of `kryloset sort` for a million instances"
        case = f"a line through {first:,} and {last:,} instances"
        goals.append(Goal(text, case, million, SECONDS))
    generated = [row for row in rows if row["table"] == "generated" and row["order"] != "greedy"]
    for (name,), same in grouped(generated, "order").items():
        first, last = same[0], same[-1]
        if first["instances"] != last["instances"]:
            growth = math.log(last["seconds"] / first["seconds"])
            growth /= math.log(last["instances"] / first["instances"])
            case = f"{name}, {first['instances']:,} to {last['instances']:,} instances"
            goals.append(Goal("p, seconds growing as instances^p", case, growth, GROWTH))
    return goals


def run(*, fields: int, size: Sequence[int], stage: Sequence[int]) -> Iterator[list[Row]]:
    """Measure all.

    Yields:
        By kind of features rows with `table` (`generated`, `stage` or `fields`), `instances`,
        `features`, `order`, and where measured `seconds` of the order, `seconds_features`,
        `seconds_all` (all of the processor, which do not tell what else the machine did),
        `memory_mb`, and the length of the path relative to the exact greedy one
        (`to_greedy`) and that as drawn (`to_given`).

    Raises:
        KrylosetError: `kryloset sort` failed.
    """
    yield measure_sizes(size)
    # Before this process grows, since no peak of a child is below its own.
    yield [measure_stage(count) for count in stage]
    yield measure_fields(fields)
