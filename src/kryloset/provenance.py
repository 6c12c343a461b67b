# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Provenance of a file: the code that made it, and the versions of what it ran on."""

import hashlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import decode_source
from pathlib import Path

from kryloset.config import DatasetConfig
from kryloset.errors import KrylosetError
from kryloset.problems.base import Family
from kryloset.problems.registry import family_files
from kryloset.version import __version__

DISCRETISES = "kryloset.fem.discretise"
"""The module by which stages make discretisations."""

_PACKAGE = Path(__file__).parent
#: An import from the package, and the names that it takes. It is not in the first line of a module;
#: beginning with a character, it is searched for in a third of the time that `^` takes.
_IMPORT = re.compile(
    rf"\n[ \t]*(?:from ({__package__}[\w.]*) import (\([^)]*\)|.*)|import ({__package__}[\w.]*))"
)


@cache
def _sources() -> Mapping[str, Path]:
    """Return the files of all modules of the package, by their full names."""
    found = {}
    for folder, _, names in os.walk(_PACKAGE):
        path = Path(folder)
        package = ".".join(path.relative_to(_PACKAGE.parent).parts)
        for name in names:
            stem, _, ending = name.partition(".")
            if ending == "py":
                found[package if stem == "__init__" else f"{package}.{stem}"] = path / name
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the modules of the package that a module imports itself.

    Nothing is imported to find them, since torch may not be installed, and the text is not parsed,
    which for the whole package takes as long as a small stage.
    """
    text = _sources()[module].read_text(encoding="utf-8")
    found: set[str] = set()
    for package, names, whole in _IMPORT.findall(text):
        listed = re.findall(r"(\w+)(?: as \w+)?", re.sub("#.*", "", names))
        modules = {f"{package}.{name}" for name in listed} & _sources().keys()
        found |= modules
        if len(modules) < len(listed) or whole:
            found.add(package or whole)
    return frozenset(found - {module})


@cache
def closure(module: str) -> frozenset[str]:
    """Return a module of the package, and those that it imports, directly or through others.

    Imports inside functions count.

    Args:
        module: Its full name, such as `kryloset.run.sort`.
    """
    found, ahead = {module}, [module]
    while ahead:
        more = _imports(ahead.pop()) - found
        found |= more
        ahead += more
    return frozenset(found)


@cache
def code_identity(*modules: str) -> str:
    """Return a digest of modules of the package and of all modules of it that they import.

    Editing a module changes the identity of exactly those stages that import it, directly or
    through others. Files with the name of a module and another ending count, such as a template.

    Args:
        modules: Full names, such as `kryloset.run.sort`.

    Returns:
        16 hexadecimal digits of the SHA-256 of the sources.
    """
    digest = hashlib.sha256()
    for module in sorted(frozenset().union(*map(closure, modules))):
        source = _sources()[module]
        for file in _beside(source.parent)[source.stem]:
            digest.update(f"{module} {file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _beside(folder: Path) -> Mapping[str, list[Path]]:
    """Return the files in a folder by their names up to the first dot."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file():
            found.setdefault(file.name.partition(".")[0], []).append(file)
    return found


def stage_identity(stage: str, family: Family, *others: str) -> str:
    """Return the identity of the code by which a stage treats a family and its discretisation.

    It covers the modules of the stage, of the family with its base classes, and, if the stage
    discretises, of its discretisation. A user's own file is not part of it, since it is an input
    of the stages.

    Args:
        stage: A module of `kryloset.run`.
        family: The family of the dataset.
        others: Further modules that the stage imports by name, such as that of a network.

    Returns:
        As `code_identity`.
    """
    module = f"kryloset.run.{stage}"
    used = {base.__module__ for base in type(family).__mro__}
    if DISCRETISES in closure(module):
        used.add(family.discretisation.partition(":")[0])
    own = sorted(name for name in used if name.split(".")[0] == "kryloset")
    return code_identity(module, *own, *others)


def family_sources(dataset: DatasetConfig) -> dict[str, str]:
    """Return the texts of the user's family file and of the modules beside it that it imports.

    Returns:
        Texts by the paths in the folder that imports start from, the family file first; empty for
        a family of the package.
    """
    files = family_files(dataset)
    return {place: decode_source(path.read_bytes()) for place, path in files.items()}


def commit() -> dict[str, str]:
    """Return the git commit of the clone that the package runs from, and whether it was changed.

    Returns:
        Empty where the package is installed, or without git.
    """
    root = _PACKAGE.parents[1]
    # An installed package may be inside of a repository of something else.
    if _PACKAGE.parent.name != "src" or not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", "src"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    lines = told.splitlines()
    found = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    changed = any(not line.startswith("#") for line in lines)
    return {"commit": f"{found} (changed)" if changed else found} if found else {}


def time_of_making() -> str:
    """Return the present time in UTC (ISO 8601), or that in the variable SOURCE_DATE_EPOCH.

    The variable, in seconds since 1970, is how builds are made reproducible
    (https://reproducible-builds.org/specs/source-date-epoch).

    Raises:
        KrylosetError: The variable is not such a time.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = time.time() if given is None else int(given)
        return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        raise KrylosetError(
            f"SOURCE_DATE_EPOCH is {given!r}: set it to seconds since 1970, or unset it"
        ) from None


def petsc_version() -> str:
    """Return the version of PETSc, which is loaded."""
    # MPI must come before PETSc. They are imported here, since many commands need neither.
    from mpi4py import MPI  # isort: skip  # noqa: F401
    from petsc4py import PETSc  # isort: skip

    return ".".join(map(str, PETSc.Sys.getVersion()))


def versions_of_learning() -> dict[str, str]:
    """Return the versions of software on which trained weights may depend, and the git commit."""
    found = {name: version(name) for name in ("neuraloperator", "numpy", "torch")}
    return {"kryloset": __version__, "python": platform.python_version()} | found | commit()


def versions(petsc: str | None = None) -> dict[str, str]:
    """Return the versions of software on which results may depend.

    Args:
        petsc: That of PETSc, if it was asked for where PETSc was used.
    """
    import h5py

    found = {
        "python": platform.python_version(),
        "petsc": petsc_version() if petsc is None else petsc,
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
