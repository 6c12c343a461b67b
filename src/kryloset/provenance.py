# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a file comes from: the code that made it, and the versions it ran on."""

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


@cache
def _imports() -> "ImportGraph":
    # The library, which makes no files of stages, needs no identity of code.
    import grimp

    return grimp.build_graph("kryloset", cache_dir=None)


@cache
def code_identity(*modules: str) -> str:
    """Return a digest of modules of the package and of all that they import from it.

    An edit of a module changes the identity of just the stages that import it,
    directly or through others. Imports inside functions count, and so do files
    that have a module's name and another ending, such as a template.

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
    """Return the file of a module; nothing is imported, since torch may not be installed."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def stage_identity(stage: str, family: Family) -> str:
    """Return the identity of the code by which a stage treats a family and its discretisation.

    A family in a user's own file is an input of the stages, and no part of this; the classes of
    the package that it derives from are.

    Args:
        stage: A module of `kryloset.run`.
        family: The family of the dataset.

    Returns:
        As `code_identity`.
    """
    used = {base.__module__ for base in type(family).__mro__}
    used.add(family.discretisation.partition(":")[0])
    own = sorted(module for module in used if module.split(".")[0] == "kryloset")
    return code_identity(f"kryloset.run.{stage}", *own)


def family_sources(dataset: DatasetConfig) -> dict[str, str]:
    """Return the texts of the user's own family file and of the modules beside it that it imports.

    Returns:
        By the paths in the folder that imports start from, the family file first; nothing for a
        family of the package.
    """
    files = family_files(dataset)
    return {place: decode_source(path.read_bytes()) for place, path in files.items()}


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on, by the usual names."""
    # MPI must come before PETSc, and a command that draws no figures needs neither.
    from mpi4py import MPI  # isort: skip  # noqa: F401
    from petsc4py import PETSc  # isort: skip
    import h5py

    found = {
        "python": platform.python_version(),
        "petsc": ".".join(map(str, PETSc.Sys.getVersion())),
        "hdf5": h5py.version.hdf5_version,
        "kryloset": __version__,
    }
    # FEniCSx goes by another distribution name in each place it comes from.
    names = {"dolfinx": ("fenics-dolfinx", "dolfinx-solver-real")}
    for name in ("dolfinx", "numpy", "scipy", "h5py"):
        for distribution in names.get(name, (name,)):
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return dict(sorted(found.items()))
