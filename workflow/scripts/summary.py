# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Say in five lines a dataset what was made, how it was verified and how to open it."""

import json
import sys
from pathlib import Path

from kryloset.config import DatasetConfig, load_config


def summarise(name: str, dataset: DatasetConfig, folder: Path) -> str:
    """Return the five lines; the check's findings are read from its file."""
    check = json.loads((folder / "check.json").read_text())
    points = dataset.mesh.points
    splits = ", ".join(f"{split} {size}" for split, size in dataset.split_sizes().items())
    return (
        f"{name}: {dataset.count} instances of {dataset.family} on {points} x {points} points"
        f" ({splits})\n"
        f"  made      {folder}/dataset.h5, shown by {folder}/report.html\n"
        f"  verified  {len(check['checks'])} checks passed, largest true relative residual"
        f" {check['residual_max']:.1e}: {folder}/check.json\n"
        f'  open it   import xarray; xarray.open_datatree("{folder}/dataset.h5", '
        'engine="h5netcdf")\n'
        f"  say more  .venv/bin/kryloset info {folder}/dataset.h5"
    )


def main(config: Path) -> None:
    """Print the lines of every dataset of a configuration."""
    found = load_config(config)
    results = Path(found.pathvars.get("results", "results"))
    for name, dataset in found.datasets.items():
        print(summarise(name, dataset, results / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
