# Functions for input that do not concern training.

from kryloset.problems import family_files


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
