# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Provenance of a file: the code that made it, and the versions of what it ran on."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import decode_source
from pathlib import Path
from typing import TYPE_CHECKING

from kryloset.config import DatasetConfig
from kryloset.problems.base import Family
from kryloset.problems.registry import family_files
from kryloset.version import __version__

if TYPE_CHECKING:
    from grimp import ImportGraph

DISCRETISES = "kryloset.fem.discretise"
"""The module by which stages make discretisations."""


@cache
def _imports() -> "ImportGraph":
    # The library makes no files of stages, and so needs no identity of code.
    import grimp

    return grimp.build_graph("kryloset", cache_dir=None)


@cache
def code_identity(*modules: str) -> str:
    """Return a digest of modules of the package and of all modules of it that they import.

    Editing a module changes the identity of exactly those stages that import it, directly or
    through others. Imports inside functions count, and so do files with the name of a module and
    another ending, such as a template.

    Args:
        modules: Full names, such as `kryloset.run.sample`.

    Returns:
        16 hexadecimal digits of the SHA-256 of the sources.
    """
    graph = _imports()
    closure = set(modules)
    for module in modules:
        closure |= graph.find_upstream_modules(module)
    digest = hashlib.sha256()
    for module in sorted(closure):
        source = _source(module)
        for file in sorted(source.parent.glob(f"{source.stem}.*")):
            digest.update(f"{module} {file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _source(module: str) -> Path:
    """Return the file of a module. Nothing is imported, since torch may not be installed."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def stage_identity(stage: str, family: Family) -> str:
    """Return the identity of the code by which a stage treats a family and its discretisation.

    It covers the modules of the stage, of the family with its base classes, and, if the stage
    discretises, of its discretisation. A user's own file is not part of it, since it is an input
    of the stages.

    Args:
        stage: A module of `kryloset.run`.
        family: The family of the dataset.

    Returns:
        As `code_identity`.
    """
    module = f"kryloset.run.{stage}"
    used = {base.__module__ for base in type(family).__mro__}
    if DISCRETISES in _imports().find_upstream_modules(module):
        used.add(family.discretisation.partition(":")[0])
    own = sorted(name for name in used if name.split(".")[0] == "kryloset")
    return code_identity(module, *own)


def family_sources(dataset: DatasetConfig) -> dict[str, str]:
    """Return the texts of the user's family file and of the modules beside it that it imports.

    Returns:
        Texts by the paths in the folder that imports start from, the family file first; empty for
        a family of the package.
    """
    files = family_files(dataset)
    return {place: decode_source(path.read_bytes()) for place, path in files.items()}


def versions() -> dict[str, str]:
    """Return the versions of software on which results may depend."""
    # MPI must come before PETSc. They are imported here, since many commands need neither.
    from mpi4py import MPI  # isort: skip  # noqa: F401
    from petsc4py import PETSc  # isort: skip
    import h5py

    found = {
        "python": platform.python_version(),
        "petsc": ".".join(map(str, PETSc.Sys.getVersion())),
        "hdf5": h5py.version.hdf5_version,
        "kryloset": __version__,
    }
    # The distribution of FEniCSx has different names on conda-forge and PyPI.
    names = {"dolfinx": ("fenics-dolfinx", "dolfinx-solver-real")}
    for name in ("dolfinx", "numpy", "scipy", "h5py"):
        for distribution in names.get(name, (name,)):
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return dict(sorted(found.items()))
