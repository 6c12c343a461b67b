# Functions for params that do not concern training.

from pathlib import Path

from kryloset.config import dump_dataset
from kryloset.provenance import stage_identity

# Each stage reads its own configuration file. The file is rewritten when a key that the
# stage depends on changes (kryloset.dependence), so an edit reruns the stages that use
# the key and the stages after them.
#
# A single file for all stages would have to be an `ancient` input, and Snakemake (9.27)
# does not look for changed params in jobs downstream of a job that has to run.


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


def bench_length(wildcards):
    """Return the option that shortens a quick benchmark."""
    return "--quick" if wildcards.length == "quick" else ""
