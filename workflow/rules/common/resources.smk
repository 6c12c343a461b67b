# Functions for resources. Each attempt asks for more than the one before.

from kryloset.run.chunking import count_values


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
