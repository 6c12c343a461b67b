# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What to install where a library is missing that only a part of Kryloset needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from kryloset.errors import KrylosetError

#: How to get what is beside the base dependencies, and the modules that it brings.
SOURCES = {
    "FEniCSx, from conda-forge (`conda install -c conda-forge fenics-dolfinx`) or as a wheel "
    "(`pip install 'kryloset[fenicsx]'`)": (
        "basix", "dolfinx", "ffcx", "gmsh", "mpi4py", "petsc4py", "ufl",
    ),
    "the workflow (`pip install 'kryloset[workflow]'`)": ("snakemake", "typer"),
    "what draws reports (`pip install 'kryloset[report]'`)": ("jinja2", "matplotlib"),
    "other formats (`make formats` in a clone, or `pip install 'kryloset[export]'`)": (
        "meshio", "pyarrow", "zarr",
    ),
    "what training needs (`make learn` in a clone, or `pip install 'kryloset[learn]'`)": (
        "lightning_fabric", "neuralop", "pytorch_optimizer", "torch",
    ),
}  # fmt: skip


class MissingLibraryError(KrylosetError, ModuleNotFoundError):
    """A library is not installed that a part of Kryloset needs; the message says how to get it."""


@contextmanager
def advised() -> Iterator[None]:
    """Say what to install where a library is missing.

    Raises:
        MissingLibraryError: A library of `SOURCES` is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        for source, modules in SOURCES.items():
            if library in modules and not isinstance(error, MissingLibraryError):
                message = f"this needs `{library}`, which is not installed: install {source}"
                raise MissingLibraryError(message, name=library) from error
        raise
