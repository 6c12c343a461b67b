# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stages of the workflow, one after another in this process."""

from pathlib import Path

from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.run import merge, solve, sort, verify
from kryloset.run.chunking import count_chunks


def make(config: DatasetConfig, name: str, folder: Path) -> Path:
    """Make a dataset.

    Args:
        config: The dataset.
        name: Its name.
        folder: A folder for all files.

    Returns:
        The dataset's file, in the folder.

    Raises:
        KrylosetError: As the stages.
    """
    order, chunks = folder / "order.h5", count_chunks(config, load_family(config), workers=1)
    sort.run(config, name, output=order, chunks=chunks)
    output = folder / "dataset.h5"
    finish(config, name, order=order, chunks=chunks, folder=folder, output=output)
    return output


def finish(
    config: DatasetConfig, name: str, *, order: Path, chunks: int, folder: Path, output: Path
) -> None:
    """Make a dataset of instances that are sorted.

    Args:
        config: The dataset.
        name: Its name.
        order: `order.h5`.
        chunks: Number of chunks that the order has.
        folder: A folder for all other files.
        output: The dataset's file to write.

    Raises:
        KrylosetError: As the stages.
    """
    names = [f"{number}-of-{chunks}" for number in range(1, chunks + 1)]
    solved = [folder / "chunks" / f"{chunk}.h5" for chunk in names]
    verified = [folder / "verified" / f"{chunk}.json" for chunk in names]
    for chunk, made, evidence in zip(names, solved, verified, strict=True):
        solve.run(config, name, order=order, chunk=chunk, output=made)
        verify.run(config, order=order, chunk=made, output=evidence)
    merge.run(
        config,
        name,
        order=order,
        chunks=solved,
        verified=verified,
        output=output,
        check=folder / "check.json",
        timings=folder / "timings.json",
        choices=folder / "choices.json",
    )
