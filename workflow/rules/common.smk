# Shared by all rules: the validated configuration, and functions for params, input and resources.

import os
import sys
import threading
from contextlib import suppress
from fcntl import LOCK_SH, flock
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from kryloset.config import (
    MACHINE,
    dump_dataset,
    label_of,
    load_dataset,
    parse_config,
)
from kryloset.dependence import STAGES, keys_of
from kryloset.errors import ConfigError, KrylosetError
from kryloset.given.opening import resolve_config
from kryloset.learn.models.registry import (
    check_names,
    check_training,
    model_files,
    model_modules,
    residual_modules,
)
from kryloset.problems import family_files, load_family
from kryloset.provenance import stage_identity
from kryloset.run.chunking import choose_chunks, count_values
from kryloset.yaml_text import read_yaml

# Jobs run the `kryloset` installed beside this Python, as if its environment were
# activated. A rule's conda environment or module still takes precedence.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
)

# When srun starts Snakemake on a node, Slurm passes it an MPI rank in PMI_ variables.
# A job's own MPI must not inherit that rank: it would fail to start.
for name in [name for name in os.environ if name.startswith("PMI_")]:
    del os.environ[name]


# Every Snakemake holds this lock until it exits, however that happens. `make run` takes a
# free lock as proof that the folder's locks are stale. Some file systems have no locks.
os.makedirs(".snakemake", exist_ok=True)
ALIVE = open(".snakemake/alive.lock", "a+")
with suppress(OSError):
    flock(ALIVE, LOCK_SH)
# Marks the jobs of this folder, so that `make run` finds those that were left behind.
os.environ.update(KRYLOSET_FOLDER=os.getcwd())


def cancel_timers():
    """Cancel what would wake up the scheduler, for whose last timer Snakemake waits a second."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def checked_datasets():
    """Return the validated datasets, or stop before any job starts.

    Snakemake silently keeps the last of two equal keys, so the files are read again.
    """
    try:
        for file in map(Path, workflow.overwrite_configfiles or ["config/config.yaml"]):
            if file.is_file():
                read_yaml(file)
        found = resolve_config(parse_config(config))
        check_names(found)
        return (found if MODELS is None else with_models(found)).datasets
    except KrylosetError as error:
        raise WorkflowError(str(error)) from None


def with_models(found):
    """Return a configuration that trains the models that this run asks for."""
    models, tree = str(MODELS).split(), found.model_dump(mode="json")
    for dataset in tree["datasets"].values():
        training = dataset["training"]
        settings = {
            label: training["settings"][label]
            for label in map(label_of, models)
            if label in training["settings"]
        }
        training.update(model=models, settings=settings)
    changed = parse_config(tree, "MODELS")
    check_names(changed)
    return changed


def folder_of(pathvar):
    """Return the folder that `<results>`, `<logs>` or `<benchmarks>` expands to."""
    return Path(workflow.pathvars.apply(workflow.modifier.modify_path(f"<{pathvar}>")))


def require_same_families():
    """Stop if a dataset would overwrite one of another family."""
    for name, dataset in DATASETS.items():
        folder = folder_of("results") / name
        before = made_of(folder)
        if before not in (None, dataset.family):
            raise WorkflowError(
                f"datasets.{name}: {folder} holds a dataset of another family, {before}; give the "
                f"one of {dataset.family} another name, move or remove that folder, or overwrite "
                "it with --config force=true (make run FORCE=yes)"
            )


def made_of(folder):
    """Return the family of which a folder has instances; None if it has none.

    Chunks count, too: hours may have gone into them. A dataset may have been copied there alone,
    or by a version with other keys.
    """
    dataset = folder / "dataset.h5"
    if not (dataset.exists() or (folder / "chunks").exists()):
        return None
    with suppress(KrylosetError, AttributeError, KeyError, TypeError, ValueError):
        (made,) = read_yaml(folder / "config/sort.yaml")["datasets"].values()
        return made["family"]
    with suppress(KrylosetError):
        from kryloset.dataset.reader import Dataset

        with Dataset(dataset) as data:
            return data.config.family
    return None


def mark_changes():
    """Touch the marker of each stage whose configuration file has other settings.

    Snakemake's own records show changed settings, but they are missing for results that were
    copied or renamed. The markers are kept outside the results, which a dry run must not touch.
    """
    for name, dataset in DATASETS.items():
        for stage in (*STAGES, *trainings(name)):
            path = f".snakemake/settings/{name}/{stage}"
            mark = Path(workflow.modifier.modify_path(path))
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            file = folder_of("results") / name / "config" / f"{stage}.yaml"
            if is_written(file, name, stage):
                os.utime(mark, (0, 0))


def is_written(file, name, stage):
    """Return whether a stage's configuration file has the settings of a dataset."""
    try:
        before = load_dataset(file, name)
    except KrylosetError:
        return False
    now = staged(name, stage)
    return all(getattr(before, key) == getattr(now, key) for key in staged_keys(stage))


def trainings(name):
    """Return the trainings of a dataset, each a stage such as `train.fno.0`: model and seed."""
    training = DATASETS[name].training
    return [
        f"train.{label}.{seed}" for label in training.labels for seed in training.seeds
    ]


def staged(name, stage):
    """Return the configuration of a dataset as a stage reads it: one training has one model.

    It may go on, or be finished, on another machine: `machine` has the keys of that.
    """
    dataset, (_, *chosen) = DATASETS[name], stage.split(".")
    online = dataset.training.online is not None
    training = dataset.training if online else dataset.training.anywhere
    if chosen:
        label, seed = chosen
        training = training.only(label, int(seed))
    return dataset.model_copy(update={"training": training})


def staged_keys(stage):
    """Return the keys on which a stage, or a training, depends."""
    return set(keys_of(stage.partition(".")[0]))


def require_writable(*pathvars):
    """Stop if a folder that the run writes to is not writable."""
    for pathvar in pathvars:
        folder = folder_of(pathvar)
        absolute = folder.absolute()
        existing = next(p for p in (absolute, *absolute.parents) if p.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise WorkflowError(
                f"pathvars.{pathvar}: cannot write to the folder {folder}, because {existing} "
                "is not a folder or you may not write to it; name another folder with "
                f"--config 'pathvars={{{pathvar}: FOLDER}}' or change its permissions"
            )


def chunk_count(dataset):
    """Return the number of chunks, from --set-scatter or the configuration."""
    return len(getattr(gather, dataset)("{scatteritem}"))


def with_chunks(name, dataset):
    """Return a dataset with its number of chunks, where its configuration leaves that open.

    A dataset keeps the number that it was begun with, so that another number of cores solves no
    instance again. A job on a cluster has other cores than the run that submitted it.
    """
    if dataset.chunks != "auto":
        return dataset
    path = Path(workflow.modifier.modify_path(f".snakemake/settings/{name}/chunks"))
    if workflow.is_main_process:
        resources = workflow.resource_settings
        workers = resources.nodes or resources.cores or 1
        chunks = begun_chunks(name, dataset) or choose_chunks(
            dataset, FAMILIES[name], workers
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(chunks))
    return dataset.model_copy(update={"chunks": int(path.read_text())})


def begun_chunks(name, dataset):
    """Return the number of chunks of the results that are there; None if they do not fit."""
    try:
        before = load_dataset(folder_of("results") / name / "config/sort.yaml", name)
    except KrylosetError:
        return None
    keys = keys_of("sort") - {"chunks"}
    fits = all(getattr(before, key) == getattr(dataset, key) for key in keys)
    return before.chunks if fits and before.chunks != "auto" else None


def require_filled_chunks():
    """Stop if --set-scatter asks for more chunks than there are instances."""
    for name, dataset in DATASETS.items():
        # Each split of `ood` is a chunk of its own.
        least, most = 1 + len(dataset.ood), dataset.count + len(dataset.ood)
        if not least <= chunk_count(name) <= most:
            raise WorkflowError(
                f"--set-scatter {name}={chunk_count(name)}: the dataset has {dataset.total} "
                f"instances and each chunk needs at least one; take {least} to {most} chunks"
            )


# Only for this run, so it is no key of a configuration.
FORCE, MODELS = config.pop("force", False), config.pop("models", None)
DATASETS = checked_datasets()
FAMILIES = {name: load_family(dataset) for name, dataset in DATASETS.items()}
DATASETS = {name: with_chunks(name, dataset) for name, dataset in DATASETS.items()}
require_writable("results", "logs", "benchmarks")
workflow.scattergather(
    **{name: dataset.chunks + len(dataset.ood) for name, dataset in DATASETS.items()}
)
require_filled_chunks()
if workflow.is_main_process:
    if not FORCE:
        require_same_families()
    mark_changes()


wildcard_constraints:
    dataset="|".join(DATASETS),
    stage=r"[a-z]+(\.\w+\.[0-9]+)?",
    model=r"\w+",
    seed="[0-9]+",


# Each stage reads its own configuration file. The file is rewritten when a key that the
# stage depends on changes (kryloset.dependence), so an edit reruns the stages that use
# the key and the stages after them.
#
# A single file for all stages would have to be an `ancient` input, and Snakemake (9.27)
# does not look for changed params in jobs downstream of a job that has to run.


# Params.


def settings(wildcards):
    """Return the settings of a stage; Snakemake rewrites its file when they change."""
    return staged(wildcards.dataset, wildcards.stage).model_dump(
        mode="json", include=staged_keys(wildcards.stage)
    )


def resolved_config(wildcards, output):
    """Return a dataset's complete configuration as YAML.

    It takes `output` because Snakemake ignores changes of params that are functions of it.
    """
    return dump_dataset(wildcards.dataset, staged(wildcards.dataset, wildcards.stage))


def code(stage):
    """Return a params function for the identity of the package code that a stage uses."""

    def identify(wildcards):
        return stage_identity(stage, FAMILIES[wildcards.dataset])

    return identify


def chunks(wildcards):
    """Return the number of chunks of a dataset."""
    return chunk_count(wildcards.dataset)


def earlier_dataset(wildcards):
    """Return the dataset that may be there, of which instances are kept."""
    return folder_of("results") / wildcards.dataset / "dataset.h5"


def launcher(wildcards, resources):
    """Return the MPI launcher of a solver, such as `mpiexec -n 2`; empty unless `mpi` is set."""
    mpi = resources.get("mpi")
    return f"{mpi} -n {resources.tasks}" if mpi else ""


def folder_of_verified(wildcards, input):
    """Return the folder of what the verification of each chunk wrote."""
    return Path(input.verified[0]).parent


def training_figures(wildcards, input):
    """Return the options that add the training results to a report."""
    pictures = [word for path in input.predictions for word in ("--predictions", path)]
    return ["--models", input.models, *pictures]


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

    It takes `output` for the reason given above: no model is trained again for another machine.
    """
    training = DATASETS[wildcards.dataset].training
    return [word for key in MACHINE for word in (f"--{key}", getattr(training, key))]


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


def gpus(wildcards):
    """Return the number of GPUs that a training asks for."""
    return DATASETS[wildcards.dataset].training.gpus


def folder_of_models(wildcards, input):
    """Return the folder of what was measured of all models."""
    return Path(input.baselines).parent


def bench_length(wildcards):
    """Return the option that shortens a quick benchmark."""
    return "--quick" if wildcards.length == "quick" else ""


# Input.


def family_source(wildcards):
    """Return the user's family file and the local modules that it imports."""
    return list(map(str, family_files(DATASETS[wildcards.dataset]).values()))


def replayed_choices(wildcards):
    """Return the file of the recorded selection that the solver replays, if any."""
    file = DATASETS[wildcards.dataset].solver.replayed
    return [str(file)] if file else []


def given_instances(wildcards):
    """Return the file that a dataset takes parameters from, if any."""
    file = DATASETS[wildcards.dataset].instances.file
    return [file] if file else []


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


def started_with(wildcards):
    """Return the model that a training begins with, if any."""
    start = DATASETS[wildcards.dataset].training.start
    return [] if start is None else [start]


def model_named(wildcards):
    """Return the model that results call by the wildcard."""
    return checked_training(wildcards.dataset).labels[wildcards.model]


def model_source(wildcards):
    """Return the user's file of a model and the local modules that it imports."""
    return list(map(str, model_files(model_named(wildcards)).values()))


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


def models_that_store(wildcards):
    """Return the models in whose trainings the chunks of a dataset are solved."""
    if not stores_stream(DATASETS[wildcards.dataset]):
        return []
    return of_trainings("model.pt")(wildcards)


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


def own_network(wildcards):
    """Return the option that names a user's own network."""
    name = model_named(wildcards)
    return ["--network", name] if ":" in name else []


def grid_of_training(wildcards):
    """Return the option that names the grid to measure on, if not all: a further one to learn on."""
    grid = DATASETS[wildcards.dataset].training.grid
    if grid is None:
        return []
    from kryloset.dataset.layout import grid_group

    return ["--grid", grid_group(grid)]


def march_of_training(wildcards):
    """Return the options that say from which states of a trajectory the next one is predicted."""
    training = DATASETS[wildcards.dataset].training
    options = {
        # On meshes, models predict the last state.
        "--window": 0 if training.where == "mesh" else training.window,
        "--stride": training.stride,
        "--bundle": None if training.bundle == 1 else training.bundle,
    }
    return [
        text
        for option, value in options.items()
        if value is not None
        for text in (option, str(value))
    ]


def first_predictions(wildcards):
    """Return the predictions of each model of a dataset with its first seed."""
    training = checked_training(wildcards.dataset)
    return [
        f"<results>/{wildcards.dataset}/models/{label}/{training.seeds[0]}/predictions.h5"
        for label in training.labels
    ]


def solved_chunks(wildcards):
    """Return the chunk files of a dataset."""
    return getattr(gather, wildcards.dataset)(
        "<results>/{dataset}/chunks/{scatteritem}.h5", dataset=wildcards.dataset
    )


def verified_chunks(wildcards):
    """Return what the verification of each chunk of a dataset wrote."""
    return getattr(gather, wildcards.dataset)(
        "<results>/{dataset}/verified/{scatteritem}.json", dataset=wildcards.dataset
    )


# Resources. Each attempt asks for more than the one before.


def drawing_processes(wildcards):
    """Return how many processes draw, which is one for what takes less than about a second."""
    count, family = DATASETS[wildcards.dataset].total, FAMILIES[wildcards.dataset]
    return 8 if count * count_values(family) > 2**24 else 1


def sorting_memory(wildcards, attempt):
    """Return the MB for the features of all instances, and a few instances a process."""
    count, family = DATASETS[wildcards.dataset].total, FAMILIES[wildcards.dataset]
    return attempt * (1500 + 5 * count * len(family.parameters) // 1024)


def solver_memory(wildcards, attempt):
    """Return the MB for a matrix, its factorisation, the solver's vectors and FEniCSx."""
    unknowns = count_values(FAMILIES[wildcards.dataset])
    return attempt * (1000 + 4 * unknowns // 1024)


def record_memory(wildcards, attempt):
    """Return the MB for the digests and records of all instances, and the arrays of a few."""
    count, family = DATASETS[wildcards.dataset].total, FAMILIES[wildcards.dataset]
    states = 1 if family.times is None else len(family.times)
    numbers = states * count_values(family)
    return attempt * (1000 + 4 * count // 1024 + 160 * numbers // 2**20)


def array_memory(wildcards, attempt):
    """Return the MB for a few arrays that hold a field of all instances."""
    count, family = DATASETS[wildcards.dataset].total, FAMILIES[wildcards.dataset]
    states = 1 if family.times is None else len(family.times)
    numbers = count * states * count_values(family)
    return attempt * (1000 + 4 * numbers * 8 // 2**20)


def solver_minutes(wildcards, attempt):
    """Return the minutes for a chunk, a guess that a site's profile can override."""
    return attempt * 240


def array_minutes(wildcards, attempt):
    """Return the minutes for one pass over the files of a dataset."""
    return attempt * 60
