# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench`: a command for each question."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kryloset.threads import keep_blas_to_one_thread

bench = typer.Typer(
    help="Measurements of what the package promises.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Output = Annotated[Path, typer.Option(help="The file to write.", show_default=False)]
Json = Annotated[
    Path | None, typer.Option(help="Write all figures to this file too, an object a row.")
]


def _write_json(path: Path | None, found: Any) -> None:
    """Write what a bench found, where a file is named for it."""
    from json import dumps

    from kryloset.dataset.atomic import write_text_whole

    if path is not None:
        write_text_whole(path, dumps(found, indent=1, allow_nan=False) + "\n")


@bench.command()
def solvers(
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Sequence; repeat it for more, an unknown name lists all. [default: all]"
        ),
    ] = None,
    preconditioner: Annotated[
        list[str] | None,
        typer.Option(help="Repeat it for more. [default: none, sor, ilu]"),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Points a side. [default: 100; of the published 50]")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Systems. [default: 20, quick 5]")] = None,
    rtol: Annotated[float, typer.Option(help="Tolerance, on the true relative residual.")] = 1e-8,
    rounds: Annotated[int, typer.Option(help="How often all is measured.")] = 1,
    large: Annotated[
        bool | None, typer.Option(help="An iteration at n = 1e5 too. [default: unless quick]")
    ] = None,
    memory: Annotated[
        bool | None, typer.Option(help="Memory through 10,000 systems. [default: unless quick]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    json: Json = None,
) -> None:
    """Compare all solvers on reference sequences and say which goals are met.

    One thread, one run, every system handed to all methods in turn. What is compared
    with what: docs/explanation/recycling.md.
    """
    keep_blas_to_one_thread()
    from mpi4py import MPI

    from kryloset.bench import solvers as bench
    from kryloset.bench.sequences import KINDS

    def show(text: str) -> None:
        if MPI.COMM_WORLD.rank == 0:
            typer.echo(text)

    result = bench.run(
        kinds=kind or tuple(KINDS),
        preconditioners=preconditioner or bench.PRECONDITIONERS,
        size=size,
        count=(5 if quick else bench.SYSTEMS) if count is None else count,
        tolerance=rtol,
        rounds=rounds,
        large=not quick if large is None else large,
        memory=not quick if memory is None else memory,
        show=lambda case: show(bench.describe_case(case, markdown=markdown)),
    )
    show(bench.describe_goals(result["goals"], markdown=markdown))
    if MPI.COMM_WORLD.rank == 0:
        _write_json(json, result)


@bench.command()
def assembly(
    size: Annotated[
        int | None, typer.Option(help="Nodes a side of the square. [default: 100, quick 20]")
    ] = None,
    degree: Annotated[int | None, typer.Option(help="Of the elements, 1 or 2.")] = None,
    dimension: Annotated[int | None, typer.Option(help="Of the domain, 2 or 3.")] = None,
    repeats: Annotated[
        int | None, typer.Option(help="How often all is assembled. [default: 50, quick 5]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Json = None,
) -> None:
    """Compare assembly by a sparse map with DOLFINx's and say which goals are met.

    One thread, one run, both ways in turn for the same coefficients; milliseconds are
    medians of processor time. What the map is: docs/explanation/assembly.md.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import assembly as bench

    result = bench.run(
        size=(bench.QUICK_SIZE if quick else bench.SIZE) if size is None else size,
        degree=degree,
        dimension=dimension,
        repeats=(bench.QUICK_REPEATS if quick else bench.REPEATS) if repeats is None else repeats,
    )
    typer.echo(bench.describe(result))
    _write_json(json, result)


@bench.command()
def ordering(
    fields: Annotated[
        int | None, typer.Option(help="Permeabilities to compare on. [default: 5000, quick 1000]")
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Instances with generated features; repeat it for more. "
            "[default: 10000, 100000, 1000000; quick 1000, 10000]"
        ),
    ] = None,
    file: Annotated[
        int | None,
        typer.Option(help="Fields to run `kryloset sort` on. [default: 100000, quick 1000]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    json: Json = None,
) -> None:
    """Measure orders of instances: seconds, memory, length of the path.

    One thread. What is measured on what: docs/explanation/ordering.md.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import ordering as bench

    typer.echo(bench.describe_row(None, markdown=markdown))
    result = bench.run(
        fields=(bench.QUICK_FIELDS if quick else bench.FIELDS) if fields is None else fields,
        sizes=size or (bench.QUICK_SIZES if quick else bench.SIZES),
        file=(bench.QUICK_FIELDS if quick else bench.FILE) if file is None else file,
        show=lambda row: typer.echo(bench.describe_row(row, markdown=markdown)),
    )
    typer.echo("\n" + bench.describe_goals(result["goals"], markdown=markdown))
    _write_json(json, result)


@bench.command()
def paper(
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="darcy, thermal, poisson or helmholtz; repeat it for more. [default: all]",
        ),
    ] = None,
    preconditioner: Annotated[
        list[str] | None,
        typer.Option(
            help="none, jacobi, bjacobi, sor, asm, icc or ilu; repeat it for more. [default: all]"
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Systems counted in a cell. [default: 2 to 6, quick 2]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny systems, no goals.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    json: Json = None,
) -> None:
    """Make Tables 1 and 2 of the SKR paper again, beside what was published.

    One thread, one run, every system handed to all methods in turn. What the systems
    are: docs/measurements/paper.md.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import paper as bench
    from kryloset.bench.paper_systems import SETS

    rows = bench.run(
        sets=sets or tuple(SETS),
        preconditioners=preconditioner or bench.PRECONDITIONERS,
        quick=quick,
        count=count,
        show=lambda found: typer.echo(bench.describe(found, markdown=markdown)),
    )
    if quick:
        typer.echo("No goal is judged by a quick run.")
    else:
        typer.echo(bench.describe_goals(bench.judge(rows), markdown=markdown))
    _write_json(json, rows)


@bench.command()
def automatic(
    kind: Annotated[
        list[str] | None, typer.Option(help="Sequence, darcy or wind; both if not given.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Points a side. [default: 64 and 100, quick 64]")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Systems. [default: 500, quick 100]", min=2)
    ] = None,
    ways: Annotated[int, typer.Option(help="Fixed ways to compare with.", min=1)] = 2,
    tolerance: Annotated[float, typer.Option(help="On the true relative residual.")] = 1e-8,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Json = None,
) -> None:
    """Compare the automatic choice with each of its ways used throughout.

    One thread, one run, all in turn on each system.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import automatic as bench
    from kryloset.bench.sequences import KINDS

    for name in kind or ():
        if name not in KINDS:
            raise typer.BadParameter(f"{name} is not one of {', '.join(KINDS)}")
    rows = [
        row
        for name in kind or bench.KINDS
        for points in size or ((64,) if quick else bench.SIZES)
        for row in bench.measure(
            name,
            points,
            (100 if quick else bench.SYSTEMS) if count is None else count,
            ways,
            tolerance,
        )
    ]
    typer.echo(bench.describe(rows))
    _write_json(json, rows)


@bench.command()
def relaxation(
    size: Annotated[
        int | None, typer.Option(help="Unknowns a side of the square. [default: 10, quick 6]")
    ] = None,
    turns: Annotated[
        int | None, typer.Option(help="Systems of a game. [default: 5000, quick 1000]")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Games. [default: 10, quick 2]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Json = None,
) -> None:
    """Let bandits choose the relaxation factor of SOR, as in 'Learning to relax'.

    Mean iterations a system beside those of the best fixed factor and of the best for each.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import relaxation as bench

    rows = bench.run(
        size=(6 if quick else 10) if size is None else size,
        turns=(1_000 if quick else 5_000) if turns is None else turns,
        trials=(2 if quick else 10) if trials is None else trials,
    )
    typer.echo(bench.describe(rows))
    _write_json(json, rows)


@bench.command()
def families(
    names: Annotated[
        list[str] | None, typer.Argument(help="Families; all of them if none is named.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Instances of each. [default: 200, quick 12]")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds for each family at each size. [default: 45, quick 4]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Json = None,
) -> None:
    """Make datasets of all families by Kryloset and by hand, and say which goals are met.

    One thread, one run, all methods in turn. What is compared with what:
    docs/measurements/yardstick.md.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import families as bench
    from kryloset.run import sample, sort

    rows = bench.run(
        bench.Stages(sample.run, sort.run),
        families=names or (),
        count=count,
        budget=budget,
        quick=quick,
        show=lambda found: typer.echo(bench.describe_case(found)),
    )
    typer.echo(bench.describe_summary(rows))
    typer.echo(bench.describe_goals(bench.judge(rows)))
    _write_json(json, rows)


@bench.command()
def multigrid(
    count: Annotated[
        int | None, typer.Option(help="Instances. [default: 10, quick 4]", min=2)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="On the true relative residual.")] = 1e-8,
    quick: Annotated[bool, typer.Option("--quick", help="Some of the families.")] = False,
    json: Json = None,
) -> None:
    """Compare geometric multigrid with factors, incomplete ones and algebraic multigrid.

    One thread, one run, all in turn on each system; medians.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import multigrid as bench

    rows = [
        row
        for case in (bench.QUICK if quick else bench.CASES)
        for row in bench.measure(case, count or (4 if quick else 10), tolerance)
    ]
    typer.echo(bench.describe(rows))
    _write_json(json, rows)


@bench.command()
def solver_settings(
    count: Annotated[
        int | None, typer.Option(help="Instances. [default: 6, quick 4]", min=2)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="On the true relative residual.")] = 1e-8,
    quick: Annotated[bool, typer.Option("--quick", help="Some of the families.")] = False,
    json: Json = None,
) -> None:
    """Vary the levels of fill, the factor of SOR and what recycling holds.

    One thread, one run, all in turn on each system; medians.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import solver_settings as bench

    rows = [
        row
        for case in (bench.QUICK if quick else bench.CASES)
        for row in bench.measure(case, count or (4 if quick else 6), tolerance)
    ]
    typer.echo(bench.describe(rows))
    _write_json(json, rows)


@bench.command()
def page(
    printed: Annotated[
        list[Path], typer.Argument(help="What benches printed, in files named as they are.")
    ],
    output: Output,
) -> None:
    """Show what benches printed on one page."""
    from kryloset.dataset.atomic import write_text_whole
    from kryloset.report.yardstick import render_printed

    texts = {path.stem: path.read_text(encoding="utf-8") for path in printed}
    write_text_whole(output, render_printed(texts))


@bench.command()
def scale(
    instances: Annotated[
        int | None, typer.Option(help="Of the runs of 1 and 2 workers. [default: 1000, quick 60]")
    ] = None,
    points: Annotated[
        int | None, typer.Option(help="Points a side of these. [default: 100, quick 33]")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="How often they are made. [default: 2, quick 1]", min=1)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Key `solver.method`, if not the default.")
    ] = None,
    preconditioner: Annotated[
        str | None, typer.Option(help="Key `solver.preconditioner`, alike.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Json = None,
) -> None:
    """Run the whole workflow with one and two workers, and model a million instances.

    What is not solving, what a second worker brings, and the bottleneck on 1,000 cores.
    """
    from kryloset.bench import scale as bench

    chosen = {"method": method, "preconditioner": preconditioner}
    rows = bench.run(
        instances=(bench.QUICK_INSTANCES if quick else bench.INSTANCES)
        if instances is None
        else instances,
        points=(bench.QUICK_POINTS if quick else bench.POINTS) if points is None else points,
        repeats=(1 if quick else 2) if repeats is None else repeats,
        runs=bench.QUICK_RUNS if quick else bench.RUNS,
        solver={key: value for key, value in chosen.items() if value is not None},
    )
    typer.echo(bench.describe(rows))
    _write_json(json, rows)


@bench.command()
def tolerance(
    family: Annotated[
        list[str] | None, typer.Option(help="Repeat it for more. [default: all]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One instance, coarse grids.")] = False,
    json: Json = None,
) -> None:
    """Compare the error that a residual leaves with that of the discretisation, by family.

    One thread. Both are relative L2 errors on the stored grid: docs/explanation/tolerance.md.
    """
    keep_blas_to_one_thread()
    from kryloset.bench import tolerance as bench
    from kryloset.config import SolverConfig

    rows = bench.run(
        family or tuple(bench.CASES),
        instances=bench.QUICK_INSTANCES if quick else bench.INSTANCES,
        halvings=0 if quick else bench.HALVINGS,
    )
    typer.echo(bench.describe(rows, SolverConfig().tolerance))
    _write_json(json, rows)


@bench.command()
def ablation(
    kind: Annotated[
        list[str] | None, typer.Option(help="Sequence, darcy or wind; both if not given.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Points a side. [default: 64, quick 24]", min=4)
    ] = None,
    count: Annotated[int | None, typer.Option(help="Systems. [default: 60, quick 16]")] = None,
    owners: Annotated[int, typer.Option(help="Clusters, each with a factor.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write one object a row to this file.")] = None,
) -> None:
    """Measure what sorting, recycling and reused factors are worth: order x recycle x reuse.

    One thread, all ways through all orders in turn: docs/measurements/ablation.md.
    """
    keep_blas_to_one_thread()
    from json import dumps

    from kryloset.bench import ablation as bench
    from kryloset.dataset.atomic import write_text_whole

    for name in kind or ():
        if name not in bench.KINDS:
            raise typer.BadParameter(f"{name} is not one of {', '.join(bench.KINDS)}")
    rows = [
        row
        for name in kind or bench.KINDS
        for row in bench.measure(
            name,
            (24 if quick else 64) if size is None else size,
            (16 if quick else 60) if count is None else count,
            owners,
        )
    ]
    typer.echo(bench.describe(rows))
    if json is not None:
        write_text_whole(json, dumps(rows, indent=1, allow_nan=False) + "\n")
