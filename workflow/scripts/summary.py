# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Print a short summary of each dataset: what was made, how it was verified, how to open it.

After training, print the errors of the operators and of the baselines instead; of folders to
publish, where they are.
"""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kryloset.config import DatasetConfig, load_config
from kryloset.dataset.reader import Dataset
from kryloset.report.measured import MEASURES, tell_errors


def summarise(name: str, dataset: DatasetConfig, folder: Path) -> str:
    """Return the summary, from `check.json`, `comparison.json` and the dataset file."""
    check = json.loads((folder / "check.json").read_text())
    comparison = json.loads((folder / "comparison.json").read_text())
    with Dataset(folder / "dataset.h5") as data:
        grid = " x ".join(map(str, data.grid))
        states = "" if data.times is None else f", at {len(data.times)} times"
        splits = ", ".join(f"{name} {len(indices)}" for name, indices in data.splits().items())
    return (
        f"{name}: {dataset.count} instances of {dataset.family} on {grid} points"
        f"{states} ({splits})\n"
        f"  made      {folder}/dataset.h5, shown by {folder}/report.html\n"
        f"  verified  {len(check['checks'])} checks passed, largest true relative residual"
        f" {check['residual_max']:.1e}: {folder}/check.json\n"
        f"{_warn(comparison['accuracy'])}"
        f"  open it   import xarray; xarray.open_datatree({json.dumps(f'{folder}/dataset.h5')}, "
        'engine="h5netcdf")\n'
        f"  details   .venv/bin/kryloset info {shlex.quote(f'{folder}/dataset.h5')}"
    )


def _warn(accuracy: Mapping[str, Any] | None) -> str:
    """Return a warning if the algebraic error exceeds the discretisation error."""
    return f"  warning   {accuracy['sentence']}\n" if accuracy and accuracy["excessive"] else ""


def summarise_training(name: str, dataset: DatasetConfig, folder: Path) -> str:
    """Return the errors on a split that is unseen in training, one line per predictor."""
    online = dataset.training.online
    if online is not None and not online.store:
        return f"{name}: models are in {folder}/models; no dataset was stored to measure them on"
    models = json.loads((folder / "models.json").read_text())
    split = dataset.held_out
    lines = [f"{name}: errors on the split {split}, more in {folder}/training.html"]
    found = tell_errors(models, split)
    width = max(map(len, found))
    for predictor, errors in found.items():
        named = zip(MEASURES.values(), errors, strict=True)
        lines.append(
            f"  {predictor:{width}}  " + ", ".join(f"{title} {error}" for title, error in named)
        )
    return "\n".join(lines)


def summarise_published(name: str, dataset: DatasetConfig, folder: Path) -> str:
    """Return where the folder to publish is, and what describes it."""
    return f"{name}: {folder}/published is ready to upload, described by its README.md"


#: What is said by the target that was made; of another one, how the dataset was made.
SUMMARIES = {"train": summarise_training, "publish": summarise_published}


def main(config: Path, target: str) -> None:
    """Print the summary of every dataset of a configuration."""
    found = load_config(config)
    results = Path(found.pathvars.get("results", "results"))
    say = SUMMARIES.get(target, summarise)
    for name, dataset in found.datasets.items():
        print(say(name, dataset, results / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "".join(sys.argv[2:]))
