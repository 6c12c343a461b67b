# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands that train neural operators and measure them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kryloset.commands import Commands
from kryloset.errors import ConfigError
from kryloset.threads import let_idle_threads_sleep

if TYPE_CHECKING:
    from kryloset.config import TrainingConfig
    from kryloset.learn.equations import Equations
    from kryloset.learn.pairs import Place

PANEL = "Learning (needs the extra `learn`)"

#: They belong to the command line itself, not to a group of their own.
learning = Commands()

Config = Annotated[Path, typer.Argument(help="The configuration, a YAML file.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Which of its datasets.", show_default=False)]
Data = Annotated[Path, typer.Option(help="A dataset, of `kryloset merge`.", show_default=False)]
Network = Annotated[
    str | None, typer.Option(help="Which of the configured models.", show_default=False)
]
OwnNetwork = Annotated[
    str | None, typer.Option(help="The network as FILE.py:Class, if it is one of your own.")
]
Seed = Annotated[
    int | None, typer.Option(help="Which of the configured seeds.", show_default=False)
]
Device = Annotated[
    str | None, typer.Option(help="In place of the key `device`.", show_default=False)
]
Trained = Annotated[
    Path, typer.Option(help="The model to write.", writable=True, show_default=False)
]
Grids = Annotated[
    list[str] | None,
    typer.Option(help="Points of a grid, as 33 or 129x65; several times. [default: all grids]"),
]
Splits = Annotated[
    list[str] | None, typer.Option(help="A split; several times. [default: all splits]")
]
Output = Annotated[Path, typer.Option(help="The JSON to write.", writable=True, show_default=False)]


@learning.command(rich_help_panel=PANEL)
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, or FILE.py:Class, for its settings.")
    ] = None,
) -> None:
    """List the models that can be trained, or describe one."""
    from kryloset.learn.models.catalogue import describe_model, list_models

    typer.echo(list_models() if name is None else describe_model(name))


@learning.command(rich_help_panel=PANEL)
def train(
    config: Config,
    name: Name,
    data: Data,
    model: Trained,
    history: Annotated[
        Path,
        typer.Option(help="The JSON to write, a row an epoch.", writable=True, show_default=False),
    ],
    network: Network = None,
    seed: Seed = None,
    device: Device = None,
    devices: Annotated[
        int | None, typer.Option(help="In place of the key `devices`.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="In place of the key `workers`.", show_default=False)
    ] = None,
) -> None:
    """Train a neural operator on a dataset; a killed training resumes."""
    let_idle_threads_sleep()
    from kryloset.given.opening import load_resolved
    from kryloset.run import train as stage

    found = load_resolved(config, name)
    machine = {"device": device, "devices": devices, "workers": workers}
    stage.run(
        found.model_copy(update={"training": _on_machine(found.training, machine)}),
        data=data,
        model=model,
        history=history,
        network=network,
        seed=seed,
        equations=_open_equations,
    )


@learning.command(rich_help_panel=PANEL)
def train_online(
    config: Config,
    name: Name,
    order: Annotated[Path, typer.Option(help="The order, of `kryloset sort`.", show_default=False)],
    chunks: Annotated[
        Path, typer.Option(help="Folder for the chunks that are solved.", show_default=False)
    ],
    model: Trained,
    history: Annotated[
        Path,
        typer.Option(help="The JSON to write, a row a chunk.", writable=True, show_default=False),
    ],
    network: Network = None,
    seed: Seed = None,
    device: Device = None,
    solvers: Annotated[
        int | None, typer.Option(help="In place of the key `online.solvers`.", show_default=False)
    ] = None,
) -> None:
    """Train a neural operator on chunks while they are solved; a killed training resumes."""
    let_idle_threads_sleep()
    from kryloset.given.opening import load_resolved
    from kryloset.run import train_online as stage

    found = load_resolved(config, name)
    machine: dict[str, Any] = {"device": device}
    if solvers is not None and found.training.online:
        machine["online"] = found.training.online.model_dump() | {"solvers": solvers}
    stage.run(
        found.model_copy(update={"training": _on_machine(found.training, machine)}),
        name,
        source=config,
        order=order,
        chunks=chunks,
        model=model,
        history=history,
        network=network,
        seed=seed,
    )


@learning.command(rich_help_panel=PANEL)
def choose(
    config: Config,
    name: Name,
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Models that differ by their seeds, two at least; by features, one.",
            show_default=False,
        ),
    ],
    pool: Annotated[int, typer.Option(min=1, help="Candidates.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="How many are chosen.", show_default=False)],
    output: Annotated[
        Path, typer.Option(help="The HDF5 to write.", writable=True, show_default=False)
    ],
    first: Annotated[
        int, typer.Option(min=0, help="Instances before the candidates, which are written too.")
    ] = 0,
    by: Annotated[
        Literal["spread", "features"],
        typer.Option(help="Spread of several models, or last-layer features of one."),
    ] = "spread",
    network: OwnNetwork = None,
) -> None:
    """Choose instances to solve where models are likely to be wrong, for the key `instances`."""
    let_idle_threads_sleep()
    from kryloset.given.opening import load_resolved
    from kryloset.run import choose as stage

    stage.run(
        load_resolved(config, name),
        models=models,
        first=first,
        pool=pool,
        count=count,
        output=output,
        by=by,
        network=network,
    )


@learning.command(rich_help_panel=PANEL)
def evaluate(
    model: Annotated[
        Path, typer.Argument(help="A model, of `kryloset train`.", show_default=False)
    ],
    data: Data,
    output: Output,
    predictions: Annotated[
        Path | None, typer.Option(help="HDF5 file to write, for `kryloset report`.", writable=True)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Another dataset, whose split `calibration` calibrates."),
    ] = None,
    grid: Grids = None,
    split: Splits = None,
    network: OwnNetwork = None,
    residual: Annotated[
        bool,
        typer.Option("--residual", help="Also how far predictions are from solving the equations."),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps along trajectories, also beyond the known states.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure a model on splits and grids of a dataset, that it was trained on or another one."""
    let_idle_threads_sleep()
    from kryloset.run import evaluate as stage

    stage.run(
        model,
        data=data,
        metrics=output,
        predictions=predictions,
        calibration=calibration,
        grids=grid or (),
        splits=split or (),
        network=network,
        equations=_open_equations if residual else None,
        steps=steps,
    )


@learning.command(rich_help_panel=PANEL)
def export_model(
    model: Annotated[
        Path, typer.Argument(help="A model, of `kryloset train`.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Argument(help="The file to write, as model.pt2.", writable=True, show_default=False),
    ],
    grid: Annotated[
        str | None,
        typer.Option(help="Points of its grid, as 33 or 129x65. [default: those of training]"),
    ] = None,
    network: OwnNetwork = None,
) -> None:
    """Write a model as a program of `torch.export`, which torch alone loads."""
    let_idle_threads_sleep()
    from kryloset.run import export_model as stage

    stage.run(model, output=output, grid=grid, network=network)


@learning.command(rich_help_panel=PANEL)
def baselines(
    dataset: Annotated[
        Path, typer.Argument(help="The dataset that they learn from.", show_default=False)
    ],
    output: Output,
    on: Annotated[
        Path | None, typer.Option(help="Another dataset, on which they are measured.")
    ] = None,
    grid: Grids = None,
    split: Splits = None,
    window: Annotated[
        int | None, typer.Option(min=0, help="training.window of the models.", show_default=False)
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="training.stride of the models.", show_default=False)
    ] = None,
    bundle: Annotated[int, typer.Option(min=1, help="training.bundle of the models.")] = 1,
) -> None:
    """Measure what models are compared with: a linear map, the nearest neighbour, the mean."""
    let_idle_threads_sleep()
    from kryloset.run import baselines as stage

    stage.run(
        dataset,
        output=output,
        on=on,
        grids=grid or (),
        splits=split or (),
        window=window,
        stride=stride,
        bundle=bundle,
    )


@learning.command(rich_help_panel=PANEL)
def tabulate(
    config: Config,
    name: Name,
    models: Annotated[
        Path,
        typer.Option(help="Folder of what was measured, as MODEL/SEED/.", show_default=False),
    ],
    output: Output,
) -> None:
    """Put the errors of all trained models into one table, as JSON and as Markdown beside it."""
    from kryloset.given.opening import load_resolved
    from kryloset.run import tabulate as stage

    stage.run(load_resolved(config, name), models=models, output=output)


def _on_machine(training: "TrainingConfig", machine: Mapping[str, Any]) -> "TrainingConfig":
    """Return a training on another machine, as far as options say so."""
    from pydantic import ValidationError

    from kryloset.config import describe

    given = {key: value for key, value in machine.items() if value is not None}
    try:
        return training.model_validate(training.model_dump() | given)
    except ValidationError as error:
        raise ConfigError(describe(error, "the command line", machine)) from None


def _open_equations(path: Path, place: "Place") -> "Equations":
    """Load FEniCSx, which no other training needs, and open the equations of a dataset."""
    from kryloset.run.equations import open_equations

    return open_equations(path, place)
