# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The compiled kernels, made at first use by the machine's own C compiler.

kernels.c has the products of tall blocks, factor.c a sparse factor, lanes.c the products of
ensembles. A C compiler is there wherever FEniCSx is, which compiles its forms in the same way.
Without one, and for complex numbers, `dense` uses BLAS, which is slower on these shapes, factors
are PETSc's, and ensembles are multiplied by NumPy.
"""

import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.c", "factor.c", "lanes.c"))

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")

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


@cache
def load_kernels() -> Any | None:
    """Return the compiled library, or None if it cannot be made, which is logged once.

    It is kept in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`), under a name that
    holds what it was made of: the sources, the compiler and the processor.
    """
    try:
        from cffi import FFI

        library = _compile()
        ffi = FFI()
        ffi.cdef(read_prototypes(source.read_text() for source in SOURCES))
        return ffi.dlopen(str(library))
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        logging.getLogger(__name__).warning(
            "no compiled kernels (%s): recycling goes through BLAS and factors are PETSc's, which "
            "is slower; install a C compiler, or name one in CC",
            error,
        )
        return None


def _compile() -> Path:
    """Compile the sources unless that has been done, and return the library's path."""
    # The compiler of Python itself may be a cross compiler that is not installed here.
    candidates = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc")
    names = [candidate.split()[0] for candidate in candidates if candidate]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    if compiler is None:
        raise FileNotFoundError(f"none of the C compilers {', '.join(names)} is installed")
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    sources = [source.read_bytes() for source in SOURCES]
    made_of = b"\0".join([*sources, " ".join(FLAGS).encode(), version, _processor()])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kryloset"
    library = folder / f"kernels-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed into place, since several processes may compile at once.
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / library.name
            command = [compiler, *FLAGS, *map(str, SOURCES), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True)
            os.replace(made, library)
    return library


def _processor() -> bytes:
    """Return what identifies the kind of processor, since a cluster may share the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(sorted({line for line in lines if line.startswith((b"flags", b"Features"))}))
