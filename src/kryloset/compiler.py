# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shared libraries made at first use by the machine's own C compiler.

A C compiler is there wherever FEniCSx is, which compiles its forms in the same way.
"""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

#: Of functions that NumPy can replace: a sum and a product are two roundings, as there. Vectors
#: change no bit, since the compiler divides no sum among them.
_EXACT = ("-O3", "-march=native", "-std=gnu11", "-ffp-contract=off")


def compile_library(
    name: str, made_of: Iterable[str], flags: Sequence[str], write: Callable[[], Iterable[str]]
) -> Path:
    """Compile C sources unless that has been done, and return the library's path.

    It is kept in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`), under a name that holds what
    it was made of: the sources, the flags, the compiler and the processor.

    Args:
        name: First part of the file's name.
        made_of: What determines the sources.
        flags: Of the compiler, beside those of a shared library.
        write: Returns the sources, called if they have to be compiled.

    Raises:
        OSError: There is no C compiler, or it fails.
    """
    compiler, version = _find_compiler()
    made = "\0".join([*made_of, *flags, version, processor()])
    library = cache_folder() / f"{name}-{hashlib.sha256(made.encode()).hexdigest()[:16]}.so"
    if library.exists():
        return library
    with _beside(library) as output:
        sources = []
        for number, text in enumerate(write()):
            sources.append(output.with_name(f"{name}{number}.c"))
            sources[-1].write_text(text)
        options = [*flags, "-shared", "-fPIC"]
        command = [compiler, *options, *map(str, sources), "-o", str(output), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            said = error.stderr[:2000]
            raise OSError(f"{' '.join([compiler, *options])} failed: {said}") from error
    return library


def read_declarations(declarations: str) -> Any:
    """Return CFFI's interface for declarations in C, whose `dlopen` opens a library.

    CFFI parses C in Python, which takes as long as solving some systems. So what it found is kept
    beside the libraries.
    """
    import _cffi_backend  # type: ignore[import-untyped]

    made = f"{_cffi_backend.__version__}\0{declarations}"
    name = f"interface_{hashlib.sha256(made.encode()).hexdigest()[:16]}"
    module = cache_folder() / f"{name}.py"
    if not module.exists():
        from cffi import FFI
        from cffi.recompiler import make_py_source

        written = FFI()
        written.cdef(declarations)
        with _beside(module) as aside:
            make_py_source(written, name, str(aside))
    found: dict[str, Any] = {}
    exec(compile(module.read_text(), module, "exec"), found)
    return found["ffi"]


class Functions(NamedTuple):
    """Compiled functions.

    Attributes:
        library: They are its attributes.
        buffer: From bytes or a contiguous array to what a function takes as a `void *`. It takes a
            tenth of the time of the array's `ctypes.data`.
    """

    library: Any
    buffer: Callable[[Any], Any]


def open_functions(source: Path, declarations: str, otherwise: str) -> Functions | None:
    """Return compiled functions that NumPy can replace, or None if they cannot be made.

    Args:
        source: The file with them in C.
        declarations: Of the functions.
        otherwise: What is done without them, for the log.
    """
    try:
        text = source.read_text()
        library = compile_library(source.stem, [text], _EXACT, lambda: [text])
        interface = read_declarations(declarations)
        return Functions(interface.dlopen(str(library)), interface.from_buffer)
    except (ImportError, OSError) as error:
        logger.warning("no compiled functions (%s): %s, which is slower", error, otherwise)
        return None


def cache_folder() -> Path:
    """Return the folder of what is made at first use and kept for the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kryloset"


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a path in a folder of its own, and rename what is written there into place.

    Several processes may write it at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        yield Path(aside) / path.name
        os.replace(Path(aside) / path.name, path)


def _find_compiler() -> tuple[str, str]:
    """Return the path of a C compiler and its version."""
    # The compiler of Python itself may be a cross compiler that is not installed here.
    candidates = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc")
    names = [candidate.split()[0] for candidate in candidates if candidate]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    if compiler is None:
        raise FileNotFoundError(f"none of the C compilers {', '.join(names)} is installed")
    return compiler, _version_of(compiler)


@cache
def _version_of(compiler: str) -> str:
    """Return what a compiler says of itself, asked once: a process takes as long as ten solves."""
    command = [compiler, "--version"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


@cache
def processor() -> str:
    """Return what identifies the kind of processor, since a cluster may share the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
