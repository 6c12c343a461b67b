# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Make the folder to publish: the dataset, and all that stands beside it."""

import json
import logging
import os
import shutil
from hashlib import file_digest
from pathlib import Path

import yaml

from kryloset.dataset.atomic import write_folder_whole
from kryloset.dataset.card import summarise
from kryloset.dataset.reader import Dataset, read_statistics
from kryloset.errors import DataError
from kryloset.publish import croissant
from kryloset.publish.folder import describe_folder
from kryloset.publish.instances import read_columns, write_table
from kryloset.publish.sample import write_sample

logger = logging.getLogger(__name__)

DATASET, TABLE, SAMPLE, STATISTICS = "dataset.h5", "instances.csv", "sample.h5", "statistics.yaml"
CARD, CROISSANT, SUMS = "README.md", "croissant.json", "SHA256SUMS"


def run(dataset: Path, output: Path) -> None:
    """Write a folder with a dataset and what its publication needs, whole or not at all.

    Args:
        dataset: The dataset's file. The folder has a hard link to it, or a copy where the file
            system has none.
        output: The folder, where nothing is yet.

    Raises:
        DataError: The file is missing, damaged or not a dataset; the folder is there already; or
            the sample is too large.
    """
    if output.exists():
        raise DataError(f"{output} is there already: name another folder, or remove it")
    with Dataset(dataset) as data, write_folder_whole(output) as folder:
        data.require_unchanged_texts()
        _link(dataset, folder / DATASET)
        columns = read_columns(data)
        _write(folder / TABLE, write_table(columns))
        _write(folder / STATISTICS, yaml.safe_dump(read_statistics(data.file), sort_keys=False))
        contents = {
            DATASET: "all instances",
            TABLE: "a line for each instance: its split, its numbers and its solve record",
            SAMPLE: f"{write_sample(data, folder / SAMPLE)}, as netCDF-4",
            STATISTICS: "mean, standard deviation and range of each variable, training split",
        }
        files = {
            name: (text, (folder / name).stat().st_size, _digest(folder / name))
            for name, text in contents.items()
        }
        tree = croissant.describe(data, summarise(data), files, TABLE, columns)
        _write(folder / CROISSANT, json.dumps(tree, indent=1) + "\n")
        sizes = {name: (text, size) for name, (text, size, _) in files.items()}
        _write(folder / CARD, describe_folder(data, sizes))
        digests = {name: digest for name, (_, _, digest) in files.items()}
        digests |= {name: _digest(folder / name) for name in (CARD, CROISSANT)}
        _write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    logger.info("%s: %s and %d files beside it", output, DATASET, len(digests))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
