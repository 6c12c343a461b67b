# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stages after solving, as the workflow runs them."""

from collections.abc import Sequence
from pathlib import Path

from kryloset.config import DatasetConfig
from kryloset.run import merge, verify


def merge_verified(
    config: DatasetConfig, name: str, *, order: Path, chunks: Sequence[Path], output: Path
) -> Path:
    """Verify chunks and merge them; other files are written beside the dataset."""
    verified = [output.parent / "verified" / f"{chunk.stem}.json" for chunk in chunks]
    for chunk, path in zip(chunks, verified, strict=True):
        verify.run(config, order=order, chunk=chunk, output=path)
    others = {key: output.with_name(f"{key}.json") for key in ("check", "timings", "choices")}
    merge.run(
        config, name, order=order, chunks=chunks, verified=verified, output=output, **others
    )  # fmt: skip
    return output
