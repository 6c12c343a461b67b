# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Imports a user's file, with a family or a model, and the modules beside it.

A file in a package is imported as a module of that package, so that relative imports work. Any
other file is imported alone. Its folder is searched for modules after all installed ones.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Literal

from kryloset.errors import ConfigError, FamilyError
from kryloset.problems.checks.mistakes import describe_error, exits_raise, last_place

#: What a file is imported for.
type Kind = Literal["family", "model"]

#: What the last import of a file of each kind left behind: the folder that was added to `sys.path`,
#: and the names of new modules beside the file.
_searched: dict[Kind, list[str]] = {"family": [], "model": []}
_imported: dict[Kind, list[str]] = {"family": [], "model": []}


def import_file(path: Path, kind: Kind, name: str) -> ModuleType:
    """Import a file and the modules beside it again.

    Args:
        path: The file.
        kind: What it is imported for.
        name: Name of the family or model in the configuration, for messages.

    Raises:
        ConfigError: The file is missing, a module beside it has the name of an installed one, or
            the import failed; a `FamilyError` if that of a family did.
    """
    named = f"{kind} {name!r}"
    if not os.path.isfile(path):  # which answers for any path
        raise ConfigError(
            f"{named}: there is no file {path} in {Path.cwd()}; "
            "name it relative to the working directory"
        )
    if path.suffix != ".py":
        raise ConfigError(f"{named}: {path} is not a Python file: its name must end in .py")
    _search(path, kind, named)
    place = next(iter(source_files(path)))
    alone = "/" not in place
    # A unique name, since files in other folders or modules may have the same one.
    digest = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]
    module = f"{path.stem}_{digest}" if alone else _module_name(place)
    if kind == "family":
        # DOLFINx and PETSc need mpi4py to load MPI first. The file need not do so.
        importlib.import_module("mpi4py.MPI")
    try:
        with exits_raise():
            return _import_alone(path, module) if alone else importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        line = last_place(error, {module, *_imported[kind]})
        where = f"{path} cannot be imported" + (f", {line}" if line else "")
        mistake = FamilyError if kind == "family" else ConfigError
        raise mistake(f"{named}: {where}: {describe_error(error)}") from error


def _import_alone(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered like any import, since classes look up their module there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source_files(path: Path) -> dict[str, Path]:
    """Return a user's file and all modules beside it that it imports, directly or indirectly.

    Imports inside functions count. Installed modules do not, nor does anything that is imported
    by other means than an import statement.

    Args:
        path: The user's file.

    Returns:
        The files by their paths relative to the folder that imports start from, with slashes; the
        user's file comes first.
    """
    root = _root(path)
    own = Path(os.path.abspath(path))
    found: list[Path] = []
    waiting = [own, *(folder / "__init__.py" for folder in own.parents if root in folder.parents)]
    while waiting:
        file = waiting.pop(0)
        if file not in found:
            found.append(file)
            waiting += _named_in(file, root)
    # Relative if the path of the user's file is, so that they stay the same when the folder moves.
    return {
        file.relative_to(root).as_posix(): file
        if path.is_absolute()
        else Path(os.path.relpath(file))
        for file in found
    }


def _root(path: Path) -> Path:
    """Return the folder that imports start from: that of the file or of its outermost package."""
    folder = Path(os.path.abspath(path)).parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _module_name(place: str | Path) -> str:
    """Return the name of a module from its file's path in the folder that imports start from."""
    parts = Path(place).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _search(path: Path, kind: Kind, named: str) -> None:
    """Search the folder of a file for modules, and no longer that of the previous one of its kind.

    Modules that were imported from the previous folder are forgotten, since they would be taken
    for those of this file.
    """
    sys.path[:] = [folder for folder in sys.path if folder not in _searched[kind]]
    for name in _imported[kind]:
        sys.modules.pop(name, None)
    root, places = _root(path), list(source_files(path))
    for place in places:
        own = root / place.partition("/")[0]
        # The file itself is imported under another name, unless it is in a package.
        if place != path.name and (other := _installed(own)):
            raise ConfigError(
                f"{named}: it imports {own.stem!r} from {own}, but there is {other} of "
                "that name: rename yours"
            )
    _searched[kind] = [str(root)] if str(root) not in sys.path else []
    sys.path += _searched[kind]
    # Importing a module imports the packages that contain it.
    parts = [_module_name(place).split(".") for place in places]
    names = {".".join(name[: length + 1]) for name in parts for length in range(len(name))}
    _imported[kind] = list(names - sys.modules.keys())
    importlib.invalidate_caches()


def _installed(own: Path) -> str | None:
    """Return which other module an import of a module in the searched folder would find."""
    if own.stem in sys.stdlib_module_names:
        return "a module of Python"
    spec = PathFinder.find_spec(own.stem)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return None if own in (origin, origin.parent) else f"the installed {origin}"


def _named_in(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` that the import statements of a module name."""
    for name in _imported_names(file.read_bytes(), file.relative_to(root).parts[:-1]):
        place = str(root)
        for part in name:  # A package's __init__.py runs before its modules.
            place = os.path.join(place, part)
            for found in (os.path.join(place, "__init__.py"), f"{place}.py"):
                if os.path.isfile(found):
                    yield Path(found)
                    break
            if not os.path.isdir(place):
                break


@lru_cache(maxsize=128)  # a check of a dataset asks a dozen times for the same few files
def _imported_names(source: bytes, package: tuple[str, ...]) -> tuple[list[str], ...]:
    """Return the dotted names in the import statements of a module, which is in a package."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the import reports it
        return ()
    names: list[list[str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) + 1 - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names += [base, *([*base, alias.name] for alias in node.names)]
    return tuple(names)
