# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `kryloset tabulate` writes, with round numbers."""

from typing import Any


def trained_models(errors: dict[str, list[float]]) -> dict[str, Any]:
    """Return what `kryloset tabulate` writes, of models with these errors for each seed."""

    def on_splits(error: float) -> dict[str, dict[str, float]]:
        measured = {"relative_l2": error, "relative_h1": 2 * error, "vrmse": 3 * error}
        return dict.fromkeys(("train", "valid", "test"), measured)

    history = {"train": [0.5, 0.1, 0.04], "valid": [0.5, 0.2, 0.05], "seconds": [1.0, 1.0, 1.0]}
    return {
        "instances": {"train": 4, "valid": 2, "test": 2},
        "models": {
            label: {
                "seeds": [*range(len(of_seeds))],
                "errors": [*map(on_splits, of_seeds)],
                "parameters": [12345] * len(of_seeds),
                "seconds": [6.5] * len(of_seeds),
                "best_epoch": [3] * len(of_seeds),
                "history": [history] * len(of_seeds),
            }
            for label, of_seeds in errors.items()
        },
        "baselines": {"linear": on_splits(0.2), "mean": on_splits(0.4)},
        "settings": {"linear": {"rank": 3, "penalty": 0.1}},
    }
