# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands that look at configurations, families and datasets."""

from pathlib import Path
from typing import Annotated

import typer

from kryloset.commands import Commands
from kryloset.errors import KrylosetError
from kryloset.threads import keep_blas_to_one_thread

PANEL = "Inspection"

#: They belong to the command line itself, not to a group of their own.
inspection = Commands()


@inspection.command(rich_help_panel=PANEL)
def config(
    file: Annotated[
        Path | None, typer.Argument(help="YAML file; the defaults if none is given.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Only this dataset.")] = None,
) -> None:
    """Check a configuration and print it with every key and default."""
    import yaml

    from kryloset.config import Config, load_config
    from kryloset.given.opening import resolve_config
    from kryloset.learn.models.registry import check_names

    found = resolve_config(Config() if file is None else load_config(file))
    check_names(found)
    tree = found.model_dump(mode="json", exclude={"pathvars"} if not found.pathvars else None)
    if name is not None:
        if name not in found.datasets:
            there = ", ".join(found.datasets)
            raise KrylosetError(f"{file} has no dataset {name!r}; it has {there}")
        tree = {"datasets": {name: tree["datasets"][name]}}
    typer.echo(yaml.safe_dump(tree, sort_keys=False), nl=False)


@inspection.command(rich_help_panel=PANEL)
def families(
    name: Annotated[
        str | None, typer.Argument(help="A family, for its equation and settings.")
    ] = None,
) -> None:
    """List the families of PDE instances, or describe one."""
    from kryloset.problems.catalogue import describe_family, list_families

    typer.echo(list_families() if name is None else describe_family(name))


@inspection.command("try", rich_help_panel=PANEL)
def try_family(
    family: Annotated[
        str,
        typer.Argument(
            help="A family of your own, or a name.", metavar="FILE.py:Class", show_default=False
        ),
    ],
    points: Annotated[str, typer.Option(help="Grid points a side, or as in 65x33.")] = "64",
    seed: Annotated[int, typer.Option(help="Seed of the instance.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="Of the family or the grid; repeat it for more.", metavar="KEY=VALUE"),
    ] = None,
    picture: Annotated[Path, typer.Option(help="The picture to write.", writable=True)] = Path(
        "try.png"
    ),
) -> None:
    """Draw and solve one instance of a family, check what it declares, and save a picture.

    The exit code is 1 where something has to be mended before a run.
    """
    keep_blas_to_one_thread()
    from kryloset.config import parse_points
    from kryloset.library import trial

    settings = {"points": parse_points(points)} | trial.read_settings(setting or [])
    found = trial.run(family, settings, seed)
    typer.echo(trial.describe(found))
    if trial.draw_picture(found, picture):
        typer.echo(f"Picture: {picture}")
    if found.faults:
        raise typer.Exit(1)


@inspection.command(rich_help_panel=PANEL)
def info(
    file: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    config: Annotated[
        bool, typer.Option("--config", help="Only the configuration that makes it again.")
    ] = False,
) -> None:
    """Say what a dataset holds, how to open it and how to make it again."""
    from kryloset.dataset.description import describe, read_config_text
    from kryloset.snakefile import command

    if config:
        typer.echo(read_config_text(file))
        typer.echo(f"# saved as c.yaml: {command('--configfile c.yaml')}", err=True)
    else:
        typer.echo(describe(file))


@inspection.command(rich_help_panel=PANEL)
def reproduce(
    file: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    instance: Annotated[int, typer.Option(help="Its number, counted from 0.")] = 0,
) -> None:
    """Draw, assemble and solve an instance again from the file alone, and compare.

    The exit code is 1 where anything differs.
    """
    keep_blas_to_one_thread()
    from kryloset.run import reproduce as stage

    checks = stage.run(file, instance)
    typer.echo(stage.describe(file, instance, checks))
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


@inspection.command(rich_help_panel=PANEL)
def diff(
    first: Annotated[Path, typer.Argument(help="A dataset's file.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Relative L2 distance up to which numbers are equal. By default what the "
            "tolerances of the solvers allow.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say in what two datasets differ: how they were made, and their data.

    The exit code is 1 where the data differ by more than the tolerance.
    """
    from kryloset.dataset import diff as datasets

    found = datasets.compare(first, second, tolerance)
    typer.echo(found.describe())
    if not found.equal:
        raise typer.Exit(1)


@inspection.command(rich_help_panel=PANEL)
def snakefile() -> None:
    """Say where the workflow is, for `snakemake --snakefile`."""
    from kryloset.snakefile import find_snakefile

    typer.echo(find_snakefile())


@inspection.command(rich_help_panel=PANEL)
def export(
    file: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="well, neuraloperator, deepxde, pdebench, zarr, vtk, huggingface or netcdf.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="A new folder; for netcdf a new file.", writable=True, show_default=False
        ),
    ],
    precision: Annotated[str, typer.Option(metavar="float32|float64")] = "float32",
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split; repeat it for more.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="The grid with so many points a side, or as in 65x33; by default all that the "
            "format has room for."
        ),
    ] = None,
    instances: Annotated[
        str, typer.Option(metavar="FIRST:END", help="Only these instances, as in 0:100.")
    ] = ":",
) -> None:
    """Write a dataset, or a part of it, in the format of another library."""
    from kryloset.run import export as stage

    stage.run(
        file,
        to=to,
        output=output,
        precision=precision,
        splits=split or (),
        grids=grid or (),
        instances=instances,
    )


@inspection.command(rich_help_panel=PANEL)
def restore(
    file: Annotated[Path, typer.Argument(help="The dataset's file.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(help="A new folder.", writable=True, show_default=False)
    ],
) -> None:
    """Write what makes a dataset again into a folder: configuration, and a family of your own."""
    from kryloset.dataset.restore import restore

    typer.echo(restore(file, folder))
