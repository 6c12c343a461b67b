# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shared libraries made at first use by the machine's own C compiler.

A C compiler is there wherever FEniCSx is, which compiles its forms in the same way.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


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
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kryloset"
    library = folder / f"{name}-{hashlib.sha256(made.encode()).hexdigest()[:16]}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed into place, since several processes may compile at once.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        output, sources = Path(aside) / library.name, []
        for number, text in enumerate(write()):
            sources.append(Path(aside) / f"{name}{number}.c")
            sources[-1].write_text(text)
        options = [*flags, "-shared", "-fPIC"]
        command = [compiler, *options, *map(str, sources), "-o", str(output), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            said = error.stderr[:2000]
            raise OSError(f"{' '.join([compiler, *options])} failed: {said}") from error
        os.replace(output, library)
    return library


def _find_compiler() -> tuple[str, str]:
    """Return the path of a C compiler and its version."""
    # The compiler of Python itself may be a cross compiler that is not installed here.
    candidates = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc")
    names = [candidate.split()[0] for candidate in candidates if candidate]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    if compiler is None:
        raise FileNotFoundError(f"none of the C compilers {', '.join(names)} is installed")
    command = [compiler, "--version"]
    return compiler, subprocess.run(command, check=True, capture_output=True, text=True).stdout


def processor() -> str:
    """Return what identifies the kind of processor, since a cluster may share the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
