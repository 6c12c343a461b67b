# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `kryloset tabulate` writes, with round numbers."""

from itertools import count
from typing import Any

from kryloset.report.measured import MEASURES, PARTS, QUANTILES


def trained_models(
    errors: dict[str, list[float]], rollout: Any = None, digest: str = "0"
) -> dict[str, Any]:
    """Return what `kryloset tabulate` writes, of models with these errors for each seed.

    Args:
        errors: By model the errors for each seed.
        rollout: What was measured along the trajectories of each split, if there are any.
        digest: That of the dataset.
    """

    def measured(of_seeds: list[float]) -> dict[str, Any]:
        factors = dict(zip((*MEASURES, *PARTS), count(1), strict=False))
        splits = ("train", "valid", "test")
        errors = [
            {key: {name: factor * error for name, factor in factors.items()} for key in splits}
            for error in of_seeds
        ]
        spread = [
            {key: {"relative_l2": dict.fromkeys(QUANTILES, error)} for key in splits}
            for error in of_seeds
        ]
        within = {"0.9": {"radius": 0.25, "coverage": {"test": 0.5}}}
        return {
            "dataset": [digest] * len(of_seeds),
            "grid": ["17"] * len(of_seeds),
            "instances": [{"train": 4, "valid": 2, "test": 2}] * len(of_seeds),
            "errors": errors,
            "quantiles": spread,
            "calibration": [{"relative_l2": within, "tube": within}] * len(of_seeds),
            "rollout": [rollout and dict.fromkeys(splits, rollout)] * len(of_seeds),
            "grids": [{"9": {"errors": of_seed}} for of_seed in errors],
        }

    history = {"train": [0.5, 0.1, 0.04], "valid": [0.5, 0.2, 0.05], "seconds": [1.0, 1.0, 1.0]}
    return {
        "instances": {"train": 4, "valid": 2, "test": 2},
        "models": {
            label: {
                "seeds": [*range(len(of_seeds))],
                **measured(of_seeds),
                "parameters": [12345] * len(of_seeds),
                "seconds": [6.5] * len(of_seeds),
                "best_epoch": [3] * len(of_seeds),
                "history": [history] * len(of_seeds),
            }
            for label, of_seeds in errors.items()
        },
        "baselines": {
            "linear": measured([0.2]),
            "nearest": measured([0.3]),
            "mean": measured([0.4]),
        },
    }
