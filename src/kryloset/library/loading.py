# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Small datasets for tutorials and tests, each made once by the stages of the workflow."""

import hashlib
import os
import tempfile
from pathlib import Path

import xarray

from kryloset.compiler import cache_folder
from kryloset.config import dump_dataset, load_dataset
from kryloset.errors import ConfigError, DataError
from kryloset.library.opening import open
from kryloset.problems import load_family
from kryloset.provenance import stage_identity
from kryloset.snakefile import find_snakefile


def load(name: str = "darcy") -> xarray.DataTree:
    """Open a small dataset: 16 instances or so of a family, on a coarse grid.

    The first call makes it, in a few seconds, as the workflow does with `make run DATASET=name`. It
    is kept in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`), and made again by another
    version of the code.

    Args:
        name: Its name, that of a family or of a variant such as `darcy_two_valued`.

    Returns:
        As `kryloset.open`; `tree.encoding["source"]` is the path of the file.

    Raises:
        ConfigError: There is no small dataset of that name.
        DataError: The cache cannot be written.
    """
    folder = find_snakefile().parents[1] / "config/families"
    there = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in there:
        raise ConfigError(f"there is no small dataset {name!r}: take one of {', '.join(there)}")
    config = load_dataset(folder / f"{name}.yaml", name)
    family = load_family(config)
    codes = (stage_identity(stage, family) for stage in ("sort", "solve", "verify", "merge"))
    identity = hashlib.sha256(" ".join((dump_dataset(name, config), *codes)).encode())
    kept = cache_folder() / "datasets" / f"{name}-{identity.hexdigest()[:16]}.h5"
    if not kept.exists():
        # Without FEniCSx, a dataset that is there can be opened.
        from kryloset.run import one_process

        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Several processes may make it at once.
            aside = tempfile.TemporaryDirectory(dir=kept.parent)
        except OSError as error:
            raise DataError(
                f"{kept.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a "
                "folder that can"
            ) from None
        with aside as place:
            os.replace(one_process.make(config, name, Path(place)), kept)
    return open(kept)
