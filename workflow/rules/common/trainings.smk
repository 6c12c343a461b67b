# What is trained on which dataset: functions for params and input.

from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from kryloset.config import MACHINE
from kryloset.errors import ConfigError, KrylosetError
from kryloset.learn.models.registry import (
    check_training,
    model_files,
    model_modules,
    residual_modules,
)
from kryloset.provenance import stage_identity


@cache
def checked_training(name):
    """Return what is trained on a dataset; stop if there is no such model or setting."""
    training = DATASETS[name].training
    try:
        check_training(training, FAMILIES[name])
        check_start(name, training)
    except KrylosetError as error:
        raise WorkflowError(f"datasets.{name}: {error}") from None
    if "valid" not in DATASETS[name].splits:
        raise WorkflowError(
            f"datasets.{name}.splits has no `valid`, by which the best weights are chosen: add it"
        )
    return training


def check_start(name, training):
    """Refuse a model to begin with that a training makes itself, or whose network is another one."""
    if training.start is None:
        return
    made = [
        folder_of("results") / name / f"models/{label}/{seed}/model.pt"
        for label in training.labels
        for seed in training.seeds
    ]
    start = Path(training.start)
    if start.absolute() in map(Path.absolute, made):
        raise ConfigError(
            f"training.start: this training makes {start} itself: copy it, and name the copy"
        )
    # That of another dataset of this run may be made again.
    if folder_of("results").absolute() not in start.absolute().parents:
        from kryloset.learn.starting import require_network

        require_network(training)


def model_named(wildcards):
    """Return the model that results call by the wildcard."""
    return checked_training(wildcards.dataset).labels[wildcards.model]


def of_trainings(file):
    """Return an input function for a file of each training of a dataset."""

    def find(wildcards):
        training = checked_training(wildcards.dataset)
        return [
            f"<results>/{wildcards.dataset}/models/{label}/{seed}/{file}"
            for label in training.labels
            for seed in training.seeds
        ]

    return find


def trained(wildcards):
    """Return what `make train` makes; of a dataset that is not stored, only the models."""
    found = []
    for name, dataset in DATASETS.items():
        if learnt_from_files(dataset) or stores_stream(dataset):
            files = ["models.json", "models.md", "training.html"]
        else:
            files = [
                f"models/{label}/{seed}/model.pt"
                for label in dataset.training.labels
                for seed in dataset.training.seeds
            ]
        found += [f"<results>/{name}/{file}" for file in files]
    return found


def learnt_from_stream(dataset):
    """Return whether models learn while the instances of a dataset are being solved."""
    return dataset.training.online is not None


def learnt_from_files(dataset):
    """Return whether models learn from a dataset once it is made."""
    return not learnt_from_stream(dataset)


def stores_stream(dataset):
    """Return whether what is solved for trainings becomes the dataset."""
    return learnt_from_stream(dataset) and dataset.training.online.store


def named(condition):
    """Return the pattern of the names of datasets that meet a condition; of nothing for none."""
    return "|".join(name for name in DATASETS if condition(DATASETS[name])) or r"(?!)"


def folder_of_stream(wildcards):
    """Return the folder of chunks that are solved for trainings: each removes those of its own."""
    folder = folder_of("results") / wildcards.dataset
    if stores_stream(DATASETS[wildcards.dataset]):
        return folder / "online"
    return folder / "models" / wildcards.model / wildcards.seed / "online"


def solved_by_training(wildcards):
    """Return the option that names the file of a chunk that trainings may have solved."""
    if not stores_stream(DATASETS[wildcards.dataset]):
        return []
    folder = folder_of("results") / wildcards.dataset / "online"
    return ["--solved", folder / f"{wildcards.scatteritem}.h5"]


def models_that_store(wildcards):
    """Return the models in whose trainings the chunks of a dataset are solved."""
    if not stores_stream(DATASETS[wildcards.dataset]):
        return []
    return of_trainings("model.pt")(wildcards)


def model_source(wildcards):
    """Return the user's file of a model and the local modules that it imports."""
    return list(map(str, model_files(model_named(wildcards)).values()))


def started_with(wildcards):
    """Return the model that a training begins with, if any."""
    start = DATASETS[wildcards.dataset].training.start
    return [] if start is None else [start]


def own_network(wildcards):
    """Return the option that names a user's own network."""
    name = model_named(wildcards)
    return ["--network", name] if ":" in name else []


def grids_of_training(wildcards):
    """Return the options that name the grids to measure on, if these are not all.

    Those are measured that models learn on. If the dataset's own is among them, all are.
    """
    dataset = DATASETS[wildcards.dataset]
    grids = [dataset.mesh.find_grid(points) for points in dataset.training.grids]
    if None in grids:
        return []
    from kryloset.dataset.layout import grid_group

    return [text for points in grids for text in ("--grid", grid_group(points))]


def march_of_training(wildcards):
    """Return the options that say from which states of a trajectory the next one is predicted."""
    training = DATASETS[wildcards.dataset].training
    options = {
        "--window": training.window,
        "--stride": training.stride,
        "--bundle": None if training.bundle == 1 else training.bundle,
    }
    return [
        text
        for option, value in options.items()
        if value is not None
        for text in (option, str(value))
    ]


def training_code(stage):
    """Return a params function like `code`, for a stage that uses a model of the package."""

    def identify(wildcards):
        modules = model_modules(model_named(wildcards))
        if stage == "train":
            modules += residual_modules(DATASETS[wildcards.dataset].training)
        return stage_identity(stage, FAMILIES[wildcards.dataset], *modules)

    return identify


def machine(wildcards, output):
    """Return the options that say what a training runs on.

    Snakemake ignores changes of params that are functions of `output`: no model is trained again
    for another machine.
    """
    training = DATASETS[wildcards.dataset].training
    options = {key: getattr(training, key) for key in MACHINE}
    if online := training.online:  # which has one device and no workers
        options = {"device": training.device, "solvers": online.solvers}
    return [
        word
        for key, value in options.items()
        if value is not None
        for word in (f"--{key}", value)
    ]


def gpus(wildcards):
    """Return the number of GPUs that a training asks for."""
    return DATASETS[wildcards.dataset].training.gpus


def first_predictions(wildcards):
    """Return the predictions of each model of a dataset with its first seed."""
    training = checked_training(wildcards.dataset)
    return [
        f"<results>/{wildcards.dataset}/models/{label}/{training.seeds[0]}/predictions.h5"
        for label in training.labels
    ]


def training_figures(wildcards, input):
    """Return the options that add the training results to a report."""
    pictures = [word for path in input.predictions for word in ("--predictions", path)]
    return ["--models", input.models, *pictures]


def folder_of_models(wildcards, input):
    """Return the folder of what was measured of all models."""
    return Path(input.baselines).parent
