# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read what torch has saved, after its checksums, which torch does not compare."""

import logging
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from kryloset.errors import DataError

logger = logging.getLogger(__name__)


def load_saved(path: Path | str) -> Any:
    """Return the content of a file of `torch.save`, on the CPU; no code of it is run.

    Raises:
        DataError: The file is missing, damaged or another one.
    """
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; `make train` makes it") from None
    except Exception as error:  # zipfile, pickle and torch raise a dozen types.
        damaged = type(error).__name__
    raise DataError(f"{path} is damaged or not a model of Kryloset ({damaged}): train it again")


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state of a training; None if there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = load_saved(path)
    except DataError as error:
        logger.warning("%s; starting from scratch", error)
        return None
    return state
