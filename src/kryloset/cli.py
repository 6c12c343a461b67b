# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line: every stage. `inspection`, `learning` and `benches` have the other commands."""

from pathlib import Path
from typing import Annotated

import typer

from kryloset.benches import benches
from kryloset.commands import Commands
from kryloset.inspection import inspection
from kryloset.krylov.names import METHODS, PRECONDITIONERS
from kryloset.learning import learning
from kryloset.sections import Sections
from kryloset.threads import keep_blas_to_one_thread

app = Commands(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=Sections,
)

Config = Annotated[Path, typer.Argument(help="The configuration, a YAML file.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Which of its datasets.", show_default=False)]
Output = Annotated[Path, typer.Option(help="The file to write.", writable=True, show_default=False)]
Order = Annotated[Path, typer.Option(help="File of `kryloset sort`.", show_default=False)]

STAGES, SEQUENCES, MEASUREMENTS = "Stages", "Without a PDE", "Measurements"

app.add_typer(inspection)
app.add_typer(learning)
app.add_typer(benches, name="bench", rich_help_panel=MEASUREMENTS)


def _say_version(asked: bool) -> None:
    if asked:
        from kryloset.version import __version__

        typer.echo(f"kryloset {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Datasets for neural operators by recycling Krylov solvers.

    The stages in order: sort, solve, verify, merge, report; train, evaluate, baselines and
    tabulate go on from the dataset. `snakemake` runs them all.
    """


@app.command(rich_help_panel=STAGES)
def sort(
    config: Config,
    name: Name,
    output: Output,
    chunks: Annotated[int | None, typer.Option(help="Chunks, if not the configured.")] = None,
    threads: Annotated[int, typer.Option(help="Most processes that draw at once.")] = 1,
    earlier: Annotated[Path | None, typer.Option(help="Dataset whose instances are kept.")] = None,
) -> None:
    """Draw the instances, sort them by similarity and divide them into chunks."""
    keep_blas_to_one_thread()
    from kryloset.given.opening import load_resolved
    from kryloset.run import sort as stage

    found = load_resolved(config, name)
    stage.run(found, name, output=output, chunks=chunks, threads=threads, earlier=earlier)


@app.command(rich_help_panel=STAGES)
def solve(
    config: Config,
    name: Name,
    order: Order,
    chunk: Annotated[str, typer.Option(help="Which chunk, as in 1-of-2.", show_default=False)],
    output: Output,
    solved: Annotated[
        Path | None,
        typer.Option(help="The file of a training that may have solved it, to be kept."),
    ] = None,
) -> None:
    """Solve one sorted chunk; a killed one resumes where it stopped. Also under `mpiexec`."""
    keep_blas_to_one_thread()
    from kryloset.given.opening import load_resolved
    from kryloset.run import solve as stage

    stage.run(
        load_resolved(config, name),
        name,
        order=order,
        chunk=chunk,
        output=output,
        solved=solved,
    )


@app.command(rich_help_panel=STAGES)
def verify(
    config: Config,
    name: Name,
    order: Order,
    output: Output,
    chunk: Annotated[Path, typer.Argument(help="File of `kryloset solve`.", show_default=False)],
) -> None:
    """Verify a solved chunk from its file: parameters, residuals, grids, solve records."""
    keep_blas_to_one_thread()
    from kryloset.given.opening import load_resolved
    from kryloset.run import verify as stage

    stage.run(load_resolved(config, name), order=order, chunk=chunk, output=output)


@app.command(rich_help_panel=STAGES)
def merge(
    config: Config,
    name: Name,
    order: Order,
    verified: Annotated[
        Path, typer.Option(help="Folder of the files of `kryloset verify`.", show_default=False)
    ],
    output: Output,
    check: Annotated[
        Path, typer.Option(help="JSON of the checks.", writable=True, show_default=False)
    ],
    timings: Annotated[
        Path, typer.Option(help="JSON of seconds.", writable=True, show_default=False)
    ],
    choices: Annotated[
        Path, typer.Option(help="JSON of the selection.", writable=True, show_default=False)
    ],
    chunks: Annotated[list[Path], typer.Argument(help="Files of `kryloset solve`.")],
) -> None:
    """Assemble verified chunks into one dataset, in the drawn order, and check the whole."""
    from kryloset.given.opening import load_resolved
    from kryloset.run import merge as stage

    stage.run(
        load_resolved(config, name),
        name,
        order=order,
        chunks=chunks,
        verified=[verified / f"{chunk.stem}.json" for chunk in chunks],
        output=output,
        check=check,
        timings=timings,
        choices=choices,
    )


@app.command(rich_help_panel=STAGES)
def check(
    dataset: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Write the findings as JSON.", writable=True)
    ] = None,
) -> None:
    """Verify a dataset from its file alone: residuals, parameters, statistics, digests."""
    keep_blas_to_one_thread()
    from kryloset.run import check as stage

    stage.run(dataset, output)


@app.command(rich_help_panel=STAGES)
def extend(
    dataset: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    count: Annotated[
        int | None, typer.Option(help="Number of instances, more or fewer.", show_default=False)
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Points of a further grid, as 33 or 129x65; can be given several times."),
    ] = None,
    run_family: Annotated[
        bool, typer.Option("--run-family", help="Run the text of a family of one's own in it.")
    ] = False,
) -> None:
    """Draw and solve further instances of a dataset from its file alone; a killed one resumes."""
    keep_blas_to_one_thread()
    from kryloset.config import parse_points
    from kryloset.run import extend as stages

    grids = [parse_points(points) for points in grid or ()]
    typer.echo(stages.run(dataset, count=count, grids=grids, run_family=run_family))


@app.command(rich_help_panel=STAGES)
def compare(config: Config, name: Name, order: Order, output: Output) -> None:
    """Solve the same instances with and without recycling, side by side."""
    keep_blas_to_one_thread()
    from kryloset.given.opening import load_resolved
    from kryloset.run import compare as stage

    stage.run(load_resolved(config, name), name, order=order, output=output)


@app.command(rich_help_panel=STAGES)
def report(
    dataset: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The page to write. [default: dataset.html, for dataset.h5]", writable=True
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures as SVG.", writable=True)
    ] = None,
    order: Annotated[Path | None, typer.Option(help="File of `kryloset sort`.")] = None,
    timings: Annotated[Path | None, typer.Option(help="JSON of `kryloset merge`.")] = None,
    check: Annotated[Path | None, typer.Option(help="JSON of merge or `kryloset check`.")] = None,
    comparison: Annotated[Path | None, typer.Option(help="JSON of `kryloset compare`.")] = None,
    models: Annotated[Path | None, typer.Option(help="JSON of `kryloset tabulate`.")] = None,
    predictions: Annotated[
        list[Path] | None, typer.Option(help="HDF5 of `kryloset evaluate`; several times.")
    ] = None,
) -> None:
    """Show a dataset on one page, and how it was made as far as files of the run are given."""
    from kryloset.run import report as stage

    stage.run(
        dataset,
        output or Path(dataset.name).with_suffix(".html"),
        figures=figures,
        order=order,
        timings=timings,
        check=check,
        comparison=comparison,
        models=models,
        predictions=predictions or (),
    )


@app.command(rich_help_panel=STAGES)
def publish(
    dataset: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    output: Annotated[
        Path, typer.Option(help="The folder to write.", writable=True, show_default=False)
    ],
) -> None:
    """Make the folder to publish: a dataset card, Croissant, a sample, digests."""
    from kryloset.run import publish as stage

    stage.run(dataset, output)


@app.command(rich_help_panel=SEQUENCES)
def solve_sequence(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of A_0, A_1, ... (or A_0 alone) and rhs_0, rhs_1, ...: .dat of PETSc, "
            ".mtx or .mtx.gz, .npz of SciPy (matrices), .npy (vectors).",
            metavar="DIR",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The HDF5 file to write.", writable=True, show_default=False)
    ],
    ksp: Annotated[
        str, typer.Option(help=f"Method: auto, the fastest; or {', '.join(METHODS)}.")
    ] = "auto",
    pc: Annotated[
        str | None,
        typer.Option(help=f"Preconditioner [ilu]: {', '.join(PRECONDITIONERS)}."),
    ] = None,
    rtol: Annotated[float, typer.Option(help="Tolerance, on the true relative residual.")] = 1e-8,
    restart: Annotated[
        int | None, typer.Option(help="Directions that a cycle holds at most [40].")
    ] = None,
    recycle: Annotated[
        int | None, typer.Option(help="Of these, directions recycled for the next system [20].")
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            help="Solving order: given; greedy, by parameters.npy in DIR; or a file with the "
            "numbers in order (text, .npy, or order.h5 of `kryloset sort`).",
            metavar="given|greedy|FILE",
        ),
    ] = "given",
    max_it: Annotated[int, typer.Option(help="Limit of iterations, for each system.")] = 10_000,
    petsc_option: Annotated[
        list[str] | None,
        typer.Option(
            help="A further option of PETSc for method or preconditioner, such as "
            "pc_gamg_threshold=0.02; can be given several times.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Solve a sequence of your own matrices, recycling from each to the next. Also under `mpiexec`.

    A system that fails is named, stored as NaN, and makes the exit code 1.
    """
    keep_blas_to_one_thread()
    from json import dumps

    from mpi4py import MPI

    from kryloset.run import solve_sequence as stage

    summary = stage.run(
        folder,
        ksp=ksp,
        pc=pc,
        rtol=rtol,
        restart=restart,
        recycle=recycle,
        max_it=max_it,
        order=order,
        output=out,
        petsc_options=petsc_option or (),
    )
    if MPI.COMM_WORLD.rank == 0:
        typer.echo(dumps(summary, allow_nan=False) if json else stage.describe(summary))
    if summary["failures"]:
        # Every rank comes here, so that none has to be stopped.
        raise typer.Exit(1)
