# The validated datasets of the configuration, and what is refused before any job starts.

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from fcntl import LOCK_SH, flock
from pathlib import Path

from snakemake.exceptions import WorkflowError

from kryloset.config import label_of, load_dataset, parse_config
from kryloset.dependence import STAGES, keys_of
from kryloset.errors import KrylosetError
from kryloset.given.opening import resolve_config
from kryloset.learn.models.registry import check_names
from kryloset.problems import load_family
from kryloset.run.chunking import choose_chunks
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

# As it ends, Python looks for garbage in all that was imported, again and again, but leaves out
# what is frozen.
atexit.register(gc.freeze)


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
    training = dataset.training.anywhere
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
