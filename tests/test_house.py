# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The structure of the package: no circles, no long files, no private names of other files.

`lint-imports` checks the layers.
"""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/kryloset"

#: Folders beside src/, each with one purpose.
FOLDERS = {".ci", "config", "docs", "envs", "src", "tests", "workflow"}

#: Lines that a file may have.
LONGEST = 400
#: Files that may have more: each is one algorithm, which is read as a whole.
SINGLE_ALGORITHMS = {
    "krylov/methods/gcrodr.py": "GCRO-DR",
    "krylov/methods/recycling_cg.py": "recycling conjugate gradients",
    "krylov/methods/recycling_minres.py": "recycling MINRES",
}
#: Files that may spell names inside HDF5 files: those of the stages, of the dataset, and of others.
SPELLERS = ("run/files.py", "dataset/", "export/")


@cache
def sources() -> dict[str, ast.Module]:
    """Return the parsed files of the package by their paths within it."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def test_no_folder_of_somebodys_run_is_committed():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git clone")
    inside = (name.partition("/") for name in listed.stdout.split("\0"))
    assert {folder for folder, slash, _ in inside if slash} == FOLDERS


def test_no_files_import_one_another_in_a_circle():
    graph = grimp.build_graph("kryloset", cache_dir=None)
    imported = {module: graph.find_upstream_modules(module) for module in graph.modules}
    circular = {one for one in imported for other in imported[one] if one in imported[other]}
    assert sorted(circular) == []


def test_only_single_algorithms_are_long_files():
    lines = {path: len((PACKAGE / path).read_text().splitlines()) for path in sources()}
    long = {path: count for path, count in lines.items() if count > LONGEST}
    assert long.keys() == SINGLE_ALGORITHMS.keys(), long


def test_the_benches_stay_a_small_part_of_the_package():
    files = (PACKAGE / "bench").glob("*.py")
    # 4,150 lines for parts, 670 for the whole (a script by hand, whole runs, readers), 620 for
    # learning, 350 for learned help, and 110 for fine-tuning with residuals.
    assert sum(len(file.read_text().splitlines()) for file in files) <= 5_900


def test_every_solver_has_a_type():
    arguments = [
        (path, node.lineno)
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.arg == "solver" and node.annotation is not None
        if ast.unparse(node.annotation) == "Any"
    ]
    assert arguments == []


def is_private(name: str) -> bool:
    """Return whether a name is private to its file."""
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.Module) -> set[str]:
    """Return the private names that a file defines: functions, classes, variables, attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if is_private(name)}


def borrowed(tree: ast.Module, elsewhere: set[str]) -> Iterator[str]:
    """Yield the private names of other files that a file imports or reaches into.

    A subclass may use what it inherits, by `self`, `cls` or `super()`.
    """
    own, free = defined(tree), {"self", "cls", "super()"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            free |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kryloset"):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in free:
            yield from {node.attr} & elsewhere - own


def test_no_file_uses_a_private_name_of_another():
    elsewhere = set().union(*map(defined, sources().values()))
    found = {
        f"{path}: {name}" for path, tree in sources().items() for name in borrowed(tree, elsewhere)
    }
    assert found == set()


#: Groups of HDF5 files, as in `solver/reason`.
GROUPS = ("parameters/", "fields/", "solver/", "t0_fields/", "provenance/", "unknowns/")
#: Methods of HDF5 files and of those that write or read them, which take a name first.
METHODS = {
    "array",
    "row",
    "rows",
    "names",
    "gather",
    "create_dataset",
    "create_group",
    "require_group",
}


def literal(node: ast.expr) -> str | None:
    """Return a literal text, or the part of a format string before its first field."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        return literal(node.values[0]) or ""
    return None


def spelled(tree: ast.Module) -> Iterator[str]:
    """Yield the names inside HDF5 files that a file spells, with their lines."""
    for node in ast.walk(tree):
        text = None
        if isinstance(node, ast.Subscript):
            last = ast.unparse(node.value).rsplit(".", 1)[-1]
            text = literal(node.slice) if last in ("file", "_file", "attrs", "attributes") else None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            text = literal(node.args[0]) if node.func.attr in METHODS else None
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            text = literal(node)
            text = text if text and text.startswith(GROUPS) else None
        if text is not None:
            yield f"{node.lineno}: {text}"


@pytest.mark.parametrize(
    "code",
    [
        "file['bounds'][:]",
        "data.file['provenance']",
        "order.attrs['seconds']",
        "file.array('permutation')",
        "path = f'fields/{name}'",
        "places.gather(f'{group}/x')",
    ],
)
def test_names_inside_files_are_found(code: str):
    assert len(set(spelled(ast.parse(code)))) == 1


def test_names_inside_hdf5_files_are_spelled_in_one_place():
    found = {
        path: list(spelled(tree))
        for path, tree in sources().items()
        if not path.startswith(SPELLERS)
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_files_of_tests_have_different_names():
    """Pytest imports them without their folders."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py"))
    del names["conftest.py"]
    assert [name for name, count in names.items() if count > 1] == []
