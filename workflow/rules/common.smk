# What the rules share: the checked configuration and the functions that they name.

import os
import sys
from contextlib import suppress
from fcntl import LOCK_SH, flock
from math import prod
from pathlib import Path

from snakemake.exceptions import WorkflowError

from kryloset.config import dump_dataset, load_dataset, parse_config
from kryloset.dependence import STAGES, keys_of
from kryloset.errors import KrylosetError
from kryloset.problems import family_files, load_family, resolve_families
from kryloset.provenance import stage_identity
from kryloset.yaml_text import read_yaml

# Jobs run the `kryloset` that stands beside this Python, as after activating its
# environment. A conda environment or a module of the rule comes before it still.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
)

# Where Slurm starts Snakemake on a node by srun, it tells it of its place among MPI
# processes. It is not the place of what a job starts, whose MPI would fail by it.
for name in [name for name in os.environ if name.startswith("PMI_")]:
    del os.environ[name]


# Held by every Snakemake here until it ends, in whatever way: by it `make run` knows a
# folder that a killed one left locked. Some file systems have no such locks.
os.makedirs(".snakemake", exist_ok=True)
ALIVE = open(".snakemake/alive.lock", "a+")
with suppress(OSError):
    flock(ALIVE, LOCK_SH)
os.environ.update(KRYLOSET_FOLDER=os.getcwd())  # by it, the jobs that it left behind


def checked_datasets():
    """Return the datasets of the configuration, or stop before any work.

    Snakemake has read the files and kept the last of two equal keys; they are read again.
    """
    try:
        for file in map(Path, workflow.overwrite_configfiles or ["config/config.yaml"]):
            if file.is_file():
                read_yaml(file)
        return resolve_families(parse_config(config)).datasets
    except KrylosetError as error:
        raise WorkflowError(str(error)) from None


def folder_of(pathvar):
    """Return the folder that stands for `<results>`, `<logs>` or `<benchmarks>`."""
    return Path(workflow.pathvars.apply(workflow.modifier.modify_path(f"<{pathvar}>")))


def require_same_families():
    """Stop when a dataset would take the place of one of another family."""
    for name, dataset in DATASETS.items():
        folder = folder_of("results") / name
        before = made_of(folder, name)
        if before not in (None, dataset.family):
            raise WorkflowError(
                f"datasets.{name}: {folder} holds a dataset of another family, {before}; give the "
                f"one of {dataset.family} another name, or move or remove that folder"
            )


def made_of(folder, name):
    """Return the family of the dataset in a folder; None where there is none."""
    if not (folder / "dataset.h5").exists():
        return None
    try:
        return load_dataset(folder / "config/sample.yaml", name).family
    except KrylosetError:
        return None


def mark_changes():
    """Make the marks of those stages new whose configuration file is of other settings.

    What a run was told Snakemake knows by itself, unless its records are gone: of results that
    were copied, or have another name now. Marks are not in the results, for a dry run
    leaves these alone.
    """
    for name, dataset in DATASETS.items():
        for stage in STAGES:
            path = f".snakemake/settings/{name}/{stage}"
            mark = Path(workflow.modifier.modify_path(path))
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            file = folder_of("results") / name / "config" / f"{stage}.yaml"
            if is_written(file, name, dataset, stage):
                os.utime(mark, (0, 0))


def is_written(file, name, dataset, stage):
    """Return whether the configuration file of a stage has the settings of a dataset."""
    try:
        before = load_dataset(file, name)
    except KrylosetError:
        return False
    return all(getattr(before, key) == getattr(dataset, key) for key in keys_of(stage))


def require_writable(*pathvars):
    """Stop when a folder that the run writes to cannot be written."""
    for pathvar in pathvars:
        folder = folder_of(pathvar)
        absolute = folder.absolute()
        existing = next(p for p in (absolute, *absolute.parents) if p.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise WorkflowError(
                f"pathvars.{pathvar}: the folder {folder} cannot be written, since {existing} "
                "is no folder that you may write to; name another folder with "
                f"--config 'pathvars={{{pathvar}: FOLDER}}' or change its permissions"
            )


def chunk_count(dataset):
    """Return the number of chunks: that of the configuration or of --set-scatter."""
    return len(getattr(gather, dataset)("{scatteritem}"))


def require_filled_chunks():
    """Stop when --set-scatter asks for more chunks than there are instances."""
    for name, dataset in DATASETS.items():
        if not 1 <= chunk_count(name) <= dataset.count:
            raise WorkflowError(
                f"--set-scatter {name}={chunk_count(name)}: the dataset has {dataset.count} "
                f"instances and a chunk needs one, so take 1 to {dataset.count} chunks"
            )


DATASETS = checked_datasets()
FAMILIES = {name: load_family(dataset) for name, dataset in DATASETS.items()}
require_writable("results", "logs", "benchmarks")
require_same_families()
workflow.scattergather(**{name: dataset.chunks for name, dataset in DATASETS.items()})
require_filled_chunks()
if workflow.is_main_process:
    mark_changes()


wildcard_constraints:
    dataset="|".join(DATASETS),
    stage="[a-z]+",


# Each stage reads a configuration file of its own, written anew when a key that the
# stage depends on has changed (kryloset.dependence), so that an edit reruns the stages
# that it concerns and those after them.
#
# One file for all stages would need `ancient` inputs, and Snakemake (9.27) skips the
# look for changed params in every job downstream of one that has to run, ancient or not.


# Params.


def settings(wildcards):
    """Return what a stage depends on; a change makes Snakemake write its file anew."""
    return DATASETS[wildcards.dataset].model_dump(
        mode="json", include=set(keys_of(wildcards.stage))
    )


def resolved_config(wildcards, output):
    """Return a dataset's whole configuration as YAML, an ordinary configuration file.

    Params that are functions of `output` take no part in Snakemake's look for changes.
    """
    return dump_dataset(wildcards.dataset, DATASETS[wildcards.dataset])


def code(stage):
    """Return a params function: the identity of the package code that a stage uses."""

    def identify(wildcards):
        return stage_identity(stage, FAMILIES[wildcards.dataset])

    return identify


def chunks(wildcards):
    """Return the number of chunks of a dataset."""
    return chunk_count(wildcards.dataset)


def launcher(wildcards, resources):
    """Return what starts a solver on several processes: nothing unless `mpi` is set."""
    mpi = resources.get("mpi")
    return f"{mpi} -n {resources.tasks}" if mpi else ""


def training_figures(wildcards, input):
    """Return the options that add the training to a report."""
    return ["--metrics", input.metrics, "--history", input.history]


def bench_length(wildcards):
    """Return the option that makes a bench a first impression, for quick ones."""
    return "--quick" if wildcards.length == "quick" else ""


# Input.


def family_source(wildcards):
    """Return the user's own family file and the modules it imports from beside it."""
    return list(map(str, family_files(DATASETS[wildcards.dataset]).values()))


def replayed_choices(wildcards):
    """Return the file of recorded choices, where the solver is to follow some."""
    file = DATASETS[wildcards.dataset].solver.replayed
    return [str(file)] if file else []


def solved_chunks(wildcards):
    """Return the chunk files of a dataset."""
    return getattr(gather, wildcards.dataset)(
        "<results>/{dataset}/chunks/{scatteritem}.h5", dataset=wildcards.dataset
    )


# Resources; each attempt asks for more than the one before.


def state_size(family):
    """Return how many numbers one state of a solution is on the grid."""
    points = prod(len(axis) for axis in family.coordinates.values())
    return points * sum(family.dimension if v.rank else 1 for v in family.fields)


def solver_memory(wildcards, attempt):
    """Return MB for one matrix, its factor, the vectors of a solver and FEniCSx."""
    unknowns = state_size(FAMILIES[wildcards.dataset])
    return attempt * (1000 + 4 * unknowns // 1024)


def array_memory(wildcards, attempt):
    """Return MB for a few arrays that hold a field of every instance."""
    count, family = DATASETS[wildcards.dataset].count, FAMILIES[wildcards.dataset]
    states = 1 if family.times is None else len(family.times)
    numbers = count * states * state_size(family)
    return attempt * (1000 + 4 * numbers * 8 // 2**20)


def solver_minutes(wildcards, attempt):
    """Return minutes for a chunk: the site's profile knows better."""
    return attempt * 240


def array_minutes(wildcards, attempt):
    """Return minutes for a pass over the files of a dataset."""
    return attempt * 60
