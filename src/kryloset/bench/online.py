# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Is learning while solving worth it, and choosing what is solved?

One process solves and one thread learns, whether one after the other (offline) or at once
(online). The commands of the workflow do both, on sets of Darcy flow. Wall time is that of a
machine with a core for each, without the starts of processes: it follows from the seconds of the
processor that an instance and an epoch take offline.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from statistics import fmean, stdev
from threading import Event, Thread
from typing import Any, Self

import yaml

from kryloset.bench.goals import Goal
from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.bench.workflow import NAME, Usage, run_command

GOAL = 0.85
"""Largest error of an online training, as a share of that of an offline one at equal wall time."""

GRID, FEW, CHUNKS = 33, 16, 16
"""Points a side of the grid that is learnt on; instances of a set whose time is that of the starts
of processes; chunks of a stream."""

BATCH = 8
"""Pairs of a step."""

TIMED, REPEATS, LEAST = 10, 3, 0.1
"""Epochs by which one of two trainings is longer, from which follow the seconds of an epoch; how
often what is timed is done, of which the least seconds count; and least seconds of an epoch and of
solving, which other work may make negative."""

SPLITS = {"train": 0.9, "valid": 0.1}
TEST = {"count": 100, "seed": 1, "splits": {"train": 0.01, "test": 0.99}}
"""Of the sets to learn from, and what differs in one to test on."""


def run(
    *,
    instances: int,
    points: int,
    seeds: int,
    chosen: int,
    pool: int,
    folder: str,
    quick: bool = False,
) -> Iterator[list[Row]]:
    """Train offline and online, and on instances that are drawn uniformly and chosen.

    Yields:
        Rows of the table `online`, each with the `way`, the numbers of `instances` and `epochs`,
        the `error` on the test set with its `spread` over the seeds, seconds `solving` and
        `learning`, `wall` seconds that follow, and the `megabytes` that were on the disk at
        most; and rows of the table `active` in the same way, without times.
    """
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    bench = _Bench(place, points)
    yield from bench.compare_ways(instances, seeds)
    yield from bench.compare_draws(chosen, pool, max(2, seeds), 5 if quick else 60)


class _Bench:
    """The commands that make sets and models in a folder."""

    def __init__(self, place: Path, points: int) -> None:
        """Begin with nothing."""
        self.place, self.points = place, points

    def compare_ways(self, count: int, seeds: int) -> Iterator[list[Row]]:
        """Yield the rows of the table `online`."""
        mesh = {"points": self.points, "grids": [GRID]}
        own: dict[str, Any] = {"count": count, "mesh": mesh}
        test = self.make("test", own | TEST)[0]
        few = min(self.make("few", own | {"count": FEW})[1] for _ in range(REPEATS))
        made = [self.make("offline", own) for _ in range(REPEATS)]
        data, all_ = made[0][0], min(seconds for _, seconds in made)
        one, long = (
            min(self.train("offline", data, own, n, 1)[0][1] for _ in range(REPEATS))
            for n in (1, 1 + TIMED)
        )
        # Without the starts of processes. Learning is to take as long as solving.
        solving = max((all_ - few) * count / (count - FEW), LEAST)
        epoch = max((long - one) / TIMED, LEAST)
        epochs = max(1, round(solving / epoch))
        learning = epochs * epoch
        trained = [model for model, _ in self.train("offline", data, own, epochs, seeds)]
        row = self.measure("offline", count, epochs, trained, test)
        row |= {"solving": solving, "learning": learning, "wall": solving + learning}
        yield [row | {"megabytes": _megabytes(self.place / "offline")}]
        # A stream is learnt from after its first chunk.
        more = int(count * (solving + learning) / (solving / CHUNKS + learning))
        for way, number, passes, buffer in (
            ("online, equal wall time", more, epochs, "balanced"),
            ("online, equal wall time", more, epochs, "reservoir"),
            ("online, equal solver cost", count, epochs, "balanced"),
            ("online, equal solver cost", count, epochs, "reservoir"),
            ("online, equal solver cost", count, 1, "firo"),
            ("online, equal solver cost", count, 1, "fifo"),
        ):
            with _Watched(self.place / "online") as watched:
                found = self.stream(own | {"count": number}, passes, buffer, seeds)
            row = self.measure(f"{way}, {buffer}", number, passes, found, test)
            first, rest = number * solving / count / CHUNKS, number * passes * epoch / count
            row |= {"solving": CHUNKS * first, "learning": rest}
            row |= {"wall": first + max(rest, (CHUNKS - 1) * first)}
            yield [row | {"megabytes": watched.megabytes}]

    def compare_draws(self, count: int, pool: int, seeds: int, epochs: int) -> Iterator[list[Row]]:
        """Yield the rows of the table `active`."""
        own: dict[str, Any] = {"count": count, "mesh": {"points": GRID}}
        test = self.make("small_test", own | TEST)[0]
        data, _ = self.make("first", own)
        models = self.train("first", data, own, epochs, seeds)
        both = own | {"count": 2 * count}
        ways = {"uniformly": both}
        for by, seen in (("spread", models), ("features", models[:1])):
            asked = {"first": count, "pool": pool, "count": count, "by": by, "output": f"{by}.h5"}
            options = [word for key, value in asked.items() for word in (f"--{key}", str(value))]
            self.call("first", "choose", "config.yaml", NAME, *(str(m) for m, _ in seen), *options)
            ways[f"by the {by}"] = both | {
                "instances": {"file": str(self.place / f"first/{by}.h5")}
            }
        for way, dataset in ways.items():
            name = way.replace(" ", "_")
            data, _ = self.make(name, dataset)
            trained = [model for model, _ in self.train(name, data, dataset, epochs, seeds)]
            row = self.measure(way, 2 * count, epochs, trained, test)
            yield [row | {"table": "active"}]

    def make(self, name: str, dataset: dict[str, Any]) -> tuple[Path, float]:
        """Make a dataset in one process after another; return it, and the seconds that took."""
        rmtree(self.place / name, ignore_errors=True)
        self.configure(name, {"splits": SPLITS, **dataset, "chunks": 1})
        chunk, verified = "chunks/1-of-1.h5", "verified/1-of-1.json"
        order = ("--order", "order.h5", "--output")
        others = [
            word for key in ("check", "timings", "choices") for word in (f"--{key}", f"{key}.json")
        ]
        seconds = sum(
            self.call(name, stage, "config.yaml", NAME, *options).processor
            for stage, *options in (
                ("sort", "--output", "order.h5"),
                ("solve", *order, chunk, "--chunk", "1-of-1"),
                ("verify", *order, verified, chunk),
                ("merge", *order, "dataset.h5", "--verified", "verified", *others, chunk),
            )
        )
        return self.place / name / "dataset.h5", seconds

    def train(
        self, name: str, data: Path, dataset: dict[str, Any], epochs: int, seeds: int
    ) -> list[tuple[Path, float]]:
        """Train on a dataset with each seed; return the models, and the seconds that each took."""
        self.configure(name, {"splits": SPLITS, **dataset, "chunks": 1}, epochs, seeds)
        found = []
        for seed in range(seeds):
            model = self.place / name / f"{seed}/model.pt"
            asked = {"data": data, "seed": seed, "model": model, "history": f"{seed}/history.json"}
            options = [word for key, value in asked.items() for word in (f"--{key}", str(value))]
            used = self.call(name, "train", "config.yaml", NAME, *options)
            found.append((model, used.processor))
        return found

    def stream(self, dataset: dict[str, Any], epochs: int, buffer: str, seeds: int) -> list[Path]:
        """Train online with each seed, without storing what is solved; return the models."""
        found = []
        for seed in range(seeds):
            rmtree(self.place / "online", ignore_errors=True)
            online = {"buffer": buffer, "store": False, "solvers": 1}
            dataset |= {"splits": SPLITS, "chunks": CHUNKS}
            self.configure("online", dataset, epochs, seeds, online)
            self.call("online", "sort", "config.yaml", NAME, "--output", "order.h5")
            model = self.place / f"{buffer}.{seed}.pt"
            asked = {"order": "order.h5", "chunks": "chunks", "seed": seed, "model": model}
            asked["history"] = "history.json"
            options = [word for key, value in asked.items() for word in (f"--{key}", str(value))]
            self.call("online", "train-online", "config.yaml", NAME, *options)
            found.append(model)
        return found

    def measure(
        self, way: str, instances: int, epochs: int, models: Sequence[Path], test: Path
    ) -> Row:
        """Measure the models of a way of training, and return its row."""
        errors = []
        for model in models:
            options = ("--grid", str(GRID), "--split", "test", "--output", "metrics.json")
            self.call(".", "evaluate", str(model), "--data", str(test), *options)
            metrics = json.loads((self.place / "metrics.json").read_text())
            errors.append(metrics["errors"]["test"]["relative_l2"])
        return {
            "table": "online",
            "way": way,
            "instances": instances,
            "epochs": epochs,
            "error": fmean(errors),
            "spread": stdev(errors) if len(errors) > 1 else None,
        }

    def configure(
        self,
        name: str,
        dataset: dict[str, Any],
        epochs: int = 1,
        seeds: int = 1,
        online: Any = None,
    ) -> None:
        """Write a configuration of Darcy flow into a folder."""
        training = {
            "epochs": epochs,
            "seeds": [*range(seeds)],
            "batch_size": BATCH,
            "grids": [GRID] if dataset["mesh"]["points"] != GRID else [],
            "settings": {"fno": {"modes": 12, "width": 16}},
            "online": online,
        }
        whole = {"family": "darcy", "parameters": {"modes": GRID - 1}, "training": training}
        (self.place / name).mkdir(exist_ok=True)
        text = yaml.safe_dump({"datasets": {NAME: whole | dataset}})
        (self.place / name / "config.yaml").write_text(text)

    def call(self, name: str, *command: str) -> Usage:
        """Run a command of the package in a folder, with one thread."""
        alone = ["env", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"]
        return run_command([*alone, sys.executable, "-m", "kryloset", *command], self.place / name)


class _Watched:
    """The most that the files of a folder take while something is done; for a `with` statement."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing."""
        self.folder, self.megabytes = folder, 0.0
        self._ended = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            with suppress(OSError):  # A file may go while it is counted.
                self.megabytes = max(self.megabytes, _megabytes(self.folder))


def _megabytes(folder: Path) -> float:
    """Return what the files of a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def describe(rows: Sequence[Row]) -> str:
    """Return the rows of a case as a table."""
    return tabulate(rows, COLUMNS[rows[0]["table"]])


def conclude(rows: Sequence[Row]) -> str:
    """Return both tables."""
    tables = ([row for row in rows if row["table"] == name] for name in ("online", "active"))
    return "\n\n".join(describe(table) for table in tables)


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare the error at equal wall time with that of the offline training."""
    errors = {row["way"]: row["error"] for row in rows}
    share = errors["online, equal wall time, balanced"] / errors["offline"]
    return [Goal("error, to that of offline", "equal wall time", share, GOAL)]
