# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What training gets from a dataset: shuffled batches by PyTorch's `DataLoader`."""

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from kryloset.bench.tables import Row
from kryloset.dataset.reader import Dataset
from kryloset.learn.data import FieldPairs

BATCH, SPLIT = 32, "train"


class PlainPairs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):  # type: ignore[misc]
    """Pairs of k and u, read as one does by hand: an instance at a time, from two arrays.

    Args:
        file: An HDF5 file.
        names: Of the arrays, whose first axis is that of instances.
        instances: Those to read.
    """

    def __init__(self, file: Path, names: Sequence[str], instances: Iterable[int]) -> None:
        """Open nothing yet: each worker opens the file for itself."""
        self.file, self.names, self.instances = file, names, list(instances)
        self._arrays: list[h5py.Dataset] = []

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.instances)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one pair in float32."""
        if not self._arrays:
            opened = h5py.File(self.file)
            self._arrays = [opened[name] for name in self.names]
        k, u = (torch.from_numpy(array[self.instances[item]]).float() for array in self._arrays)
        return k, u


def measure_pairs(data: Path, repeats: int, *, window: int = 0) -> Row:
    """Read random pairs of the training split in batches, in this process.

    Args:
        data: A dataset.
        repeats: Passes over at most 2,000 pairs that count, after one that computes checksums.
        window: As of `FieldPairs`.

    Returns:
        A row with the microseconds of the processor for a pair: of the `first` pass, and the
        median of the `later` ones.
    """
    pairs = FieldPairs(data, SPLIT, window=window)
    items = np.random.default_rng(0).permutation(len(pairs))[:2000].tolist()
    taken = []
    for _ in range(repeats + 1):
        began = time.process_time()
        for batch in batched(items, BATCH):
            pairs.__getitems__(batch)
        taken.append(1e6 * (time.process_time() - began) / len(items))
    first, *later = taken
    what = "states 1 step apart" if window else "coefficients and solution"
    row: Row = {"table": "pair", "pairs": what, "arrays": len(pairs.inputs) + len(pairs.outputs)}
    return row | {"first": first, "later": median(later)}


def measure(data: Path, contiguous: Path, workers: int, repeats: int) -> Row:
    """Read the training split in shuffled batches, in three ways in turn.

    Args:
        data: A dataset of the family `darcy`.
        contiguous: To write its k and u to, each in one piece.
        workers: Processes of the loaders, which live on from pass to pass; 0 for none.
        repeats: Passes over the split that count, after one that does not.

    Returns:
        A row with the median microseconds by the clock for a pair: `kryloset`, by `FieldPairs`;
        `same_chunks`, by plain h5py from the dataset; `contiguous`, by plain h5py from arrays in
        one piece without checksums; and `to_...`, the ratios of the first to the others.
    """
    pairs = FieldPairs(data, SPLIT)
    instances = pairs.instances.tolist()
    with Dataset(data) as file:
        names = [file.array(name).name for name in ("k", "u")]
    if not contiguous.exists():
        with h5py.File(data) as file, h5py.File(contiguous, "w") as copy:
            for name in names:
                copy[name] = file[name][:]
    ways: Mapping[str, Any] = {
        "kryloset": pairs,
        "same_chunks": PlainPairs(data, names, instances),
        "contiguous": PlainPairs(contiguous, names, instances),
    }
    with warnings.catch_warnings():
        # Of more workers than cores, and of forks beside the threads of PyTorch.
        warnings.simplefilter("ignore")
        loaders = {
            way: DataLoader(
                found, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
            )
            for way, found in ways.items()
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats + 1):
            for way, loader in loaders.items():
                began = time.perf_counter()
                for _ in loader:
                    pass
                taken[way].append(1e6 * (time.perf_counter() - began) / len(instances))
    row: Row = {way: median(each[1:]) for way, each in taken.items()}
    ratios = {f"to_{way}": row["kryloset"] / row[way] for way in ("same_chunks", "contiguous")}
    return {"table": "read", "workers": workers, "pairs": len(instances), **row, **ratios}
