# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tables and sentences on the errors of neural operators, from `models.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from kryloset.report.numerals import spread

#: The baselines, with the words of sentences for them.
BASELINES = {
    "linear": "the linear predictor",
    "nearest": "the nearest neighbour in the training split",
    "mean": "the mean of the training split",
    "persistence": "persistence, which predicts no change",
}
#: The errors of tables, by their keys.
MEASURES = {"relative_l2": "relative L2", "relative_h1": "relative H1", "vrmse": "VRMSE"}
#: Quantiles of the relative L2 error over the instances of a split.
QUANTILES = {"q50": "median", "q90": "90 %", "max": "largest"}
#: What the errors are made of.
PARTS = {
    "maximum": "maximum norm",
    "boundary": "boundary",
    "low": "low frequencies",
    "middle": "middle",
    "high": "high",
}


def predictors(models: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what was measured of each model and each baseline, by what tables call it.

    Args:
        models: Content of `models.json`.
    """
    baselines = models["baselines"].items()
    return {
        **models["models"],
        **{BASELINES[name].partition(",")[0].removeprefix("the "): of for name, of in baselines},
    }


def tell_errors(models: Mapping[str, Any], split: str) -> dict[str, list[str]]:
    """Return the errors on a split, by predictor, as texts in the order of `MEASURES`.

    Args:
        models: Content of `models.json`.
        split: The split.
    """
    return {
        name: [_spread(of["errors"], split, key) for key in MEASURES]
        for name, of in predictors(models).items()
    }


def tell_details(models: Mapping[str, Any], split: str) -> dict[str, list[str]]:
    """Return `QUANTILES` of the relative L2 error, and `PARTS`, in the same way."""
    return {
        name: [
            *(
                _spread([q[split] for q in of["quantiles"]], "relative_l2", key)
                for key in QUANTILES
            ),
            *(_spread(of["errors"], split, key) for key in PARTS),
        ]
        for name, of in predictors(models).items()
    }


def tell_grids(models: Mapping[str, Any], split: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the points of the grids, and by predictor the relative L2 errors on them.

    There are none if the dataset has no further grid on which all were measured.
    """
    every = predictors(models)
    first = next(iter(every.values()))
    measured = [of_seed for of in every.values() for of_seed in of["grids"]]
    further = [points for points in first["grids"][0] if all(points in on for on in measured)]
    if not further:
        return [], {}
    return [first["grid"][0], *further], {
        name: [
            _spread(of["errors"], split, "relative_l2"),
            *(
                _spread([g[points]["errors"] for g in of["grids"]], split, "relative_l2")
                for points in further
            ),
        ]
        for name, of in every.items()
    }


def name_turn(models: Mapping[str, Any]) -> str:
    """Return what histories have an entry for: an epoch, or a chunk that was learnt from."""
    first = next(iter(models["models"].values()))
    return "chunk" if "waited" in first["history"][0] else "epoch"


def rollouts(models: Mapping[str, Any], split: str) -> dict[str, Mapping[str, Any]]:
    """Return what was measured along the trajectories of a split, by predictor.

    It is that of the first seed. There are none without trajectories.
    """
    return {
        name: of["rollout"][0][split] for name, of in predictors(models).items() if of["rollout"][0]
    }


def tell_rollout(models: Mapping[str, Any], split: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return times along trajectories, and by predictor the relative L2 errors there.

    The times are those after the first step, after half of the steps and after all of them.
    """
    every = rollouts(models, split)
    if not every:
        return [], {}
    first = next(iter(every.values()))
    times = first["times"][: len(first["errors"]["relative_l2"])]
    places = sorted({0, (len(times) - 1) // 2, len(times) - 1})
    found = {}
    for name in every:
        along = [of[split]["errors"]["relative_l2"] for of in predictors(models)[name]["rollout"]]
        values = [[of_seed[place] for of_seed in along] for place in places]
        found[name] = ["–" if None in of_time else spread(of_time) for of_time in values]
    return [f"t = {times[place]:.3g}" for place in places], found


def describe_calibration(models: Mapping[str, Any], split: str) -> list[str]:
    """Return a sentence for each model on what holds of its errors with a probability of 90 %.

    It is that of the first seed. There is none without a split for calibration, or with too few
    instances in it.
    """
    sentences = []
    for label, model in models["models"].items():
        found = model["calibration"][0]
        bound, tube = (
            (found[kind]["0.9"] for kind in ("relative_l2", "tube")) if found else ({}, {})
        )
        if not found or bound["radius"] is None:
            continue
        sentence = (
            "With a probability of 90 %, by conformal prediction, the relative L2 error of "
            f"{label} is at most {bound['radius']:.3g}. With the same probability it is at no "
            f"point further from the solution than {tube['radius']:.3g} standard deviations."
        )
        if split in bound["coverage"]:
            sentence += (
                f" On the split {split} this holds for {bound['coverage'][split]:.0%} and "
                f"{tube['coverage'][split]:.0%} of the instances."
            )
        sentences.append(sentence)
    return sentences


def _spread(runs: Sequence[Mapping[str, Any]], split: str, key: str) -> str:
    """Return the mean of an error over runs, and its deviation; a dash where it has no meaning."""
    values = [run[split][key] for run in runs]
    return "–" if None in values else spread(values)
