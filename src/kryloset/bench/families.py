# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long does a dataset of each family take by Kryloset, and how long by hand?

For every family and size the instances are drawn and sorted by the product's own stages. Then
methods take turns: loops over DOLFINx as one writes them by hand, `skr` as it is
published, and `auto`, which is what Kryloset does by default.
`docs/measurements/yardstick.md` says what is counted, in seconds of the processor.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from kryloset.bench.block_solve import measure_block
from kryloset.bench.goals import Goal, check_names, finite, timed
from kryloset.bench.making import PARTS, Chunk, Maker, Rows, Sequential
from kryloset.bench.peers import choose_peers
from kryloset.bench.tables import COLUMNS, Row, grouped, number, table, tabulate
from kryloset.config import DatasetConfig, MeshConfig, SolverConfig
from kryloset.dataset.staged import StagedFile
from kryloset.fem.shared_mesh import SharedMeshDiscretisation
from kryloset.krylov import AutomaticState, SequenceSolver, solve_or_escalate
from kryloset.krylov.names import SKR
from kryloset.problems import Discretisation, Instance, load_family
from kryloset.problems.populations import Population
from kryloset.problems.registry import FAMILIES, family_class
from kryloset.progress import track
from kryloset.run import files, sort
from kryloset.run.comparison import in_turn
from kryloset.run.draw import Drawn, draw_all
from kryloset.run.features import NOTHING, choose_reduction
from kryloset.run.solve_record import group_size
from kryloset.run.solver import make_solver

SHORT = {
    "gmres": "GMRES", "incomplete": "CG or BiCGStab", "multigrid": "GAMG", "mumps": "MUMPS",
    "petsc": "PETSc's factor", "pardiso": "PARDISO", "cholmod": "CHOLMOD", "skr": "SKR",
    "auto": "auto",
}  # fmt: skip
"""Names of the methods, in short."""

QUICK_FAMILIES = ("darcy", "poisson", "advection_diffusion", "heat")

QUICK_POINTS = 40
"""Points a side of these in a quick run; others need those of their setting."""

TOLERANCE = 1e-8
"""On the true relative residual, for all."""

HOPELESS, FEW = 20.0, 3
"""A method that takes that many times the fastest one's seconds gets that many instances."""

SIMPLEST = (
    "darcy", "elasticity", "thermal", "poisson", "neumann_poisson", "heat", "reaction_diffusion",
)  # fmt: skip

FASTER: Mapping[str, float] = (
    dict.fromkeys(FAMILIES, 4.0)
    | dict.fromkeys(SIMPLEST, 6.0)
    | dict.fromkeys(("darcy_3d", "elasticity_3d"), 2.0)
)
"""Goals: how many times faster than the fastest peer."""

AT_COST = 1.5
"""What counts as the cost of a block triangular solve, in units of it."""


SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "incompressible_elasticity": {"points": 33, "degree": 2},
    # Fewer steps, and a fluid thick enough for the coarser grid.
    "navier_stokes": {
        "points": 33,
        "degree": 2,
        "parameters": {"reynolds": 200, "final_time": 0.5, "steps": 125},
    },
    # As many unknowns on an interval as others have on a square.
    "kuramoto_sivashinsky": {"points": 2049, "parameters": {"final_time": 20, "steps": 200}},
    "darcy_3d": {"family": "darcy", "points": 33, "dimension": 3},
    "elasticity_3d": {"family": "elasticity", "points": 17, "dimension": 3},
}
"""Families that have not 64 points a side and linear elements, or would take hours as they are; and
cubes, in one size."""


def choose_config(name: str, scale: int, count: int, points: int | None = None) -> DatasetConfig:
    """Return the dataset of a family at a size.

    Args:
        name: One of `FASTER`.
        scale: 1 for the default number of unknowns, 4 for four times that.
        count: Instances.
        points: Points a side at scale 1, if not those of the family's settings.
    """
    settings = SETTINGS.get(name, {})
    family = settings.get("family", name)
    degree = settings.get("degree", 1)
    cells = (points or settings.get("points", 64)) - 1
    cells = degree * round(cells * scale ** (1 / family_class(family).dimensions[0]) / degree)
    return DatasetConfig(
        family=family,
        parameters=settings.get("parameters", {}),
        count=count,
        chunks=1,
        # Nothing is trained on it.
        splits={"train": 1.0},
        mesh=MeshConfig(points=cells + 1, degree=degree, dimension=settings.get("dimension")),
        solver=SolverConfig(tolerance=TOLERANCE),
    )


def measure(name: str, config: DatasetConfig, budget: float) -> list[Row]:
    """Return a row a method for a family at a size, and one for the block solve if A is constant.

    Args:
        name: Of the family, in the rows.
        config: The dataset.
        budget: Seconds of the processor after which no new round begins.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        family, by_hand = load_family(config), load_family(config)
        drawn = Drawn([Population(family)], config.seed)
        plain, built = timed(lambda: by_hand.discretise(MPI.COMM_SELF))
        # DOLFINx assembles what loops by hand solve.
        if isinstance(plain, SharedMeshDiscretisation):
            plain.with_kernels = False
        own, own_build = timed(lambda: family.discretise(MPI.COMM_SELF))
        order, sorting = _sort(config, folder)
        greedy = config.model_copy(update={"sort": "greedy", "features": "parameters"})
        chain, chaining = _sort(greedy, folder)

        write = partial(Rows, count=config.count)
        peers = choose_peers(family.operator, TOLERANCE)
        makers = [
            Maker(key, peer.label, plain, order, Sequential(peer), write(folder / key), 0.0, built)
            for key, peer in peers.items()
        ]
        skr = Sequential(SequenceSolver(tolerance=TOLERANCE, **SKR))
        makers.append(
            Maker("skr", "SKR", plain, chain, skr, write(folder / "skr"), chaining, built)
        )
        auto = Sequential(make_solver(config.solver, family), solve_or_escalate)
        journal, size = Chunk(folder, family, config.count), group_size(config.solver.width, own)
        makers.append(Maker("auto", "auto", own, order, auto, journal, sorting, own_build, size))

        def draw(index: int) -> Instance:
            (instance,) = drawn.instances([index])
            return instance

        _race(makers, draw, plain, config, budget)
        rows = _summarise(makers, name, config)
        if family.operator.constant:
            singular = family.operator.nullspace != "none"
            seconds = measure_block(plain, map(draw, order), singular, TOLERANCE)
            rows.append(_block_row(rows[-1], seconds))
        return rows


def _race(
    makers: Sequence[Maker],
    draw: Callable[[int], Instance],
    check: Discretisation,
    config: DatasetConfig,
    budget: float,
) -> None:
    """Let the methods take turns until the instances or the time are used up.

    Where one solves a group at once, the others solve some instances in the same turn. Turns in
    which a method fails are not charged: they would leave fewer to the others.
    """
    spent, size = 0.0, max(maker.group for maker in makers)
    description = f"{config.family}, {config.mesh.points} points a side"
    for turn in track(range(math.ceil(config.count / size)), description):
        if spent > budget:
            break
        # MUMPS begins: it always solves, and says what the others are measured by.
        for maker in in_turn(makers, turn + 1):
            if not maker.running:
                continue
            # The very first solves load libraries.
            limit = max(HOPELESS * min(other.median for other in makers), 5.0)
            limit = math.inf if turn else limit * maker.group
            start = time.process_time()
            for _ in range(1 if maker.group == size else FEW):
                done = len(maker.made)
                group = [draw(number) for number in maker.order[done : done + maker.group]]
                if maker.running and group:
                    maker.make(group, check, limit)
            spent += time.process_time() - start if maker.running else 0.0
        fastest = min(other.median for other in makers)
        for maker in makers:
            hopeless = maker.median > HOPELESS * fastest
            if maker.running and hopeless and len(maker.made) >= FEW:
                maker.running = False
                maker.note = f"over {HOPELESS:g} times the fastest"
    for maker in makers:
        maker.finish()


def _sort(config: DatasetConfig, folder: Path) -> tuple[list[int], float]:
    """Run the stage `sort`; return the order, and its seconds an instance.

    They are without those of drawing, which the others do not pay for either.
    """
    output = folder / f"order-{config.sort}.h5"
    own = Population(load_family(config), range(config.count))
    features = choose_reduction(NOTHING, own.family, Drawn([own], config.seed), config.count)
    _, drawing = timed(lambda: draw_all(own, config.seed, features))
    _, whole = timed(lambda: sort.run(config, config.family, output=output, chunks=1))
    with StagedFile(output) as file:
        order = np.asarray(file.array(files.PERMUTATION)).tolist()
    return order, max(whole - drawing, 0.0) / config.count


def _summarise(makers: Sequence[Maker], name: str, config: DatasetConfig) -> list[Row]:
    peers = [maker for maker in makers if maker.key != "auto"]
    fastest = min(peer.median for peer in peers)
    fastest_mean = min(peer.mean for peer in peers)
    unknowns = max(maker.solve.account.unknowns for maker in makers)
    return [
        {
            "family": name,
            "points": config.mesh.points,
            "unknowns": unknowns,
            "method": maker.key,
            "label": maker.label,
            "median_seconds": finite(maker.median),
            "median_without_writing": finite(maker.median_without_writing),
            "mean_seconds": finite(maker.mean),
            "ratio": finite(maker.median / fastest),
            "ratio_mean": finite(maker.mean / fastest_mean),
            "iterations": maker.mean_of("iterations"),
            "systems": maker.mean_of("systems"),
            "true_residual": max((one.true_residual for one in maker.made), default=None),
            "instances": len(maker.made),
            "build_seconds": maker.build,
            "seconds": {
                part: maker.sort if part == "sort" else maker.mean_of(part) for part in PARTS
            },
            "note": "; ".join(text for text in (_strategy(maker.solve), maker.note) if text),
        }
        for maker in makers
    ]


def _strategy(solve: Sequential) -> str:
    """Return how most of the systems were solved, where that was chosen."""
    state = solve.state
    if not isinstance(state, AutomaticState) or not state.choices:
        return ""
    return state.strategies[max(set(state.choices), key=state.choices.count)].label


def _block_row(auto: Row, seconds: float) -> Row:
    """Return the row of the block solve, beside that of `auto`."""
    cost = (auto["systems"] or 0) * seconds
    empty = ("ratio", "ratio_mean", "iterations", "true_residual", "build_seconds")
    return {
        **auto,
        **dict.fromkeys(empty),
        "method": "block",
        "label": "block triangular solve",
        "median_seconds": cost,
        "mean_seconds": cost,
        "instances": 0,
        "seconds": dict.fromkeys(PARTS, 0.0) | {"iterate": cost},
        "note": "solve alone, without assembly and writing",
    }


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare what was measured with the goals, family by family and size by size."""
    goals = []
    for methods in _cases(rows):
        auto = methods["auto"]
        case, reason = _where(auto), _explain(auto)
        text, limit = "the fastest of the others / auto", FASTER[auto["family"]]
        ratio = 1 / auto["ratio"] if auto["ratio"] else None
        goals.append(Goal(text, case, ratio, limit, at_least=True, reason=reason))
        if "block" in methods:
            own = auto["median_without_writing"]
            figure = own and own / methods["block"]["median_seconds"]
            text = "auto without writing / block triangular solve"
            goals.append(Goal(text, case, figure, AT_COST, reason=reason))
    return goals


def _cases(rows: Sequence[Row]) -> list[dict[str, Row]]:
    """Return the rows of each family at each size by method."""
    groups = grouped(rows, "family", "points").values()
    return [{row["method"]: row for row in group} for group in groups]


def _explain(auto: Row) -> str:
    """Say where the time of `auto` goes."""
    if auto["median_seconds"] is None:
        return str(auto["note"])
    parts = auto["seconds"]
    whole = sum(parts.values())
    shares = ", ".join(f"{part} {parts[part] / whole:.0%}" for part in PARTS)
    return f"{shares} of {1e3 * whole:.1f} ms; {auto['note']}"


def _where(row: Row) -> str:
    return f"{row['family']}, n = {row['unknowns']:,}"


def run(
    *, families: Sequence[str], count: int, budget: float, quick: bool = False
) -> Iterator[list[Row]]:
    """Measure families at both sizes, and yield the rows of each.

    Raises:
        KrylosetError: A name is not known.
    """
    check_names("family", families, tuple(FASTER))
    for name in families or (QUICK_FAMILIES if quick else FASTER):
        points = QUICK_POINTS if quick and name in QUICK_FAMILIES else None
        for scale in (1, 4) if name in FAMILIES else (1,):
            yield measure(name, choose_config(name, scale, count, points), budget)


def describe(rows: Sequence[Row]) -> str:
    """Return a family at a size as a heading and a table with a line for each method."""
    heading = f"**{_where(rows[0])}** ({rows[0]['points']} points a side)"
    shown = [{**row, "instances": row["instances"] or None} for row in rows]
    return f"{heading}\n\n{tabulate(shown, COLUMNS['families'])}\n"


def conclude(rows: Sequence[Row]) -> str:
    """Return median milliseconds an instance as a table with a line for each case."""
    header = ["family", "n", *SHORT.values(), "auto / fastest", "by mean"]
    lines = []
    for methods in _cases(rows):
        auto = methods["auto"]
        seconds = [methods.get(key, {}).get("median_seconds") for key in SHORT]
        medians = [number(value, ".1f", 1e3) for value in seconds]
        ratios = [number(auto[key], ".2f") for key in ("ratio", "ratio_mean")]
        lines.append([auto["family"], f"{auto['unknowns']:,}", *medians, *ratios, auto["note"]])
    return table([*header, "auto by"], lines)
