# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A user's own family file, and the modules beside it that it imports.

A file that lies in a package is imported as a module of it, so that relative imports work; any
other one by itself, with its folder searched for modules after all that is installed.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from kryloset.errors import ConfigError, FamilyError
from kryloset.problems.checks.mistakes import held, in_words, last_place

#: What the family imported last left behind: the folder that was added to `sys.path`, and the
#: names of modules beside it, but those that were there before.
_searched: list[str] = []
_imported: list[str] = []


def import_file(path: Path, family: str) -> ModuleType:
    """Import a family file and what it imports, anew.

    Args:
        path: The file.
        family: What the configuration calls it, for the message.

    Raises:
        ConfigError: The file is missing, or a module beside it has the name of an installed one.
        FamilyError: It does not import.
    """
    if not os.path.isfile(path):  # which answers for any path
        raise ConfigError(
            f"family {family!r}: there is no file {path} in {Path.cwd()}; "
            "name it relative to the working directory"
        )
    if path.suffix != ".py":
        raise ConfigError(f"family {family!r}: {path} is no Python file; its name must end in .py")
    _search(path, family)
    place = next(iter(source_files(path)))
    alone = "/" not in place
    # A name of its own: files in other folders, or modules, may be called the same.
    digest = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]
    name = f"{path.stem}_{digest}" if alone else _module_name(place)
    # DOLFINx and PETSc find no MPI before mpi4py has loaded it, which a file need not know.
    importlib.import_module("mpi4py.MPI")
    try:
        with held():
            return _import_alone(path, name) if alone else importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        line = last_place(error, {name, *_imported})
        where = f"{path} does not import" + (f", {line}" if line else "")
        raise FamilyError(f"family {family!r}: {where}: {in_words(error)}") from error


def _import_alone(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered, as any import is: classes find their own module there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source_files(path: Path) -> dict[str, Path]:
    """Return a family file and all modules beside it that it imports, directly or through others.

    Imports inside functions count. What is installed elsewhere is no part of it, and neither is
    what is imported by other means than an import statement.

    Args:
        path: The family file.

    Returns:
        The files by their paths in the folder that imports are relative to, with slashes, the
        family file first.
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
    # Relative where the family file is: they must not change as a folder moves.
    return {
        file.relative_to(root).as_posix(): file
        if path.is_absolute()
        else Path(os.path.relpath(file))
        for file in found
    }


def _root(path: Path) -> Path:
    """Return the folder that holds the file, or the outermost package that it is in."""
    folder = Path(os.path.abspath(path)).parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _module_name(place: str | Path) -> str:
    """Return the name of a module by its file's path in the folder that imports start from."""
    parts = Path(place).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _search(path: Path, family: str) -> None:
    """Search the folder of a file for modules, and no longer that of the file before.

    Modules that were imported from there would be taken for those of this file.
    """
    sys.path[:] = [folder for folder in sys.path if folder not in _searched]
    for name in _imported:
        sys.modules.pop(name, None)
    root, places = _root(path), list(source_files(path))
    for place in places:
        own = root / place.partition("/")[0]
        # The family file itself is imported under another name, unless it is in a package.
        if place != path.name and (other := _installed(own)):
            raise ConfigError(
                f"family {family!r}: it imports {own.stem!r} from {own}, and there is {other} of "
                "that name; rename yours"
            )
    _searched[:] = [str(root)] if str(root) not in sys.path else []
    sys.path += _searched
    # Folders that hold modules are imported with them.
    parts = [_module_name(place).split(".") for place in places]
    names = {".".join(name[: length + 1]) for name in parts for length in range(len(name))}
    _imported[:] = names - sys.modules.keys()
    importlib.invalidate_caches()


def _installed(own: Path) -> str | None:
    """Return what else an import of a module or package in the searched folder would find."""
    if own.stem in sys.stdlib_module_names:
        return "a module of Python"
    spec = PathFinder.find_spec(own.stem)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return None if own in (origin, origin.parent) else f"the installed {origin}"


def _named_in(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` that a module's import statements name."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # the import will say so
        return
    package = list(file.relative_to(root).parts[:-1])
    for node in ast.walk(tree):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [base, *([*base, alias.name] for alias in node.names)]
        for name in names:
            # A package's own file runs before what is in it.
            for length in range(1, len(name) + 1):
                found = _local_file(name[:length], root)
                if found is not None:
                    yield found


def _local_file(name: list[str], root: Path) -> Path | None:
    """Return the file of a module below `root`, if it is there."""
    place = root.joinpath(*name)
    for file in (place / "__init__.py", place.with_name(place.name + ".py")):
        if name and file.is_file():
            return file
    return None
