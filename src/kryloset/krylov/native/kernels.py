# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The compiled kernels, made at first use by the machine's own C compiler.

kernels.c has the products of tall blocks, factor.c a sparse factor, lanes.c the products of
ensembles, sweeps.c their incomplete factors and multigrid, galerkin.c the latter's analysis. A C
compiler is there wherever FEniCSx is, which compiles its forms in the same way. Without one, and
for complex numbers, `dense` uses BLAS, which is slower on these shapes, factors are PETSc's, and
ensembles are multiplied by NumPy.
"""

import logging
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from kryloset.compiler import compile_library, read_declarations

NAMES = ("kernels.c", "factor.c", "lanes.c", "sweeps.c", "galerkin.c")

SOURCES = tuple(Path(__file__).with_name(name) for name in NAMES)

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno")

EXPORTED = re.compile(r"^(\w+) (kryloset_\w+)\(([^)]*)\)\s*{", re.MULTILINE)
"""The definition of a function that Python calls."""


def read_prototypes(sources: Iterable[str]) -> str:
    """Return the prototypes of the functions that Python calls, from their definitions in C.

    Pointers become integers, since passing an address is cheaper than making a pointer of it.

    Args:
        sources: Texts of C files.
    """
    found = (match for source in sources for match in EXPORTED.findall(source))
    return "".join(
        f"{result} {name}({re.sub(r'(?:const )?\w+ [*](\w+)', r'uintptr_t \1', parameters)});\n"
        for result, name, parameters in found
    )


def open_library(library: Path, sources: Iterable[str]) -> Any:
    """Return a compiled library, whose functions have the prototypes of its sources."""
    return read_declarations(read_prototypes(sources)).dlopen(str(library))


@cache
def load_kernels() -> Any | None:
    """Return the compiled library, or None if it cannot be made, which is logged once.

    `compile_library` keeps it in the user's cache.
    """
    try:
        texts = [source.read_text() for source in SOURCES]
        return open_library(compile_library("kernels", texts, FLAGS, lambda: texts), texts)
    except (ImportError, OSError) as error:
        logging.getLogger(__name__).warning(
            "no compiled kernels (%s): recycling goes through BLAS and factors are PETSc's, which "
            "is slower; install a C compiler, or name one in CC",
            error,
        )
        return None
