# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sentences made from figures, so that the page says what was measured and no more."""

import math
from collections.abc import Mapping
from typing import Any

#: Ratios nearer to one than this are called equal; two runs differ by as much.
SAME = 0.05


def compare_iterations(ratio: float) -> str:
    """Say how many iterations one method needs, as in "2.1 times fewer iterations than".

    A ratio of nothing, 0 or infinite, is no number of times.
    """
    if abs(ratio - 1) <= SAME:
        return "about as many iterations as"
    return f"{_times(ratio)}{'more' if ratio > 1 else 'fewer'} iterations than"


def compare_seconds(ratio: float) -> str:
    """Say how fast one method is, as in "1.3 times slower than"."""
    if abs(ratio - 1) <= SAME:
        return "about as fast as"
    return f"{_times(ratio)}{'slower' if ratio > 1 else 'faster'} than"


def describe_comparison(comparison: Mapping[str, Any]) -> list[str]:
    """Return what `comparison.json` shows, a sentence a finding.

    The first names the fastest method, whichever it is; the others say what
    recycling brings against GMRES, what of it is due to the recycled space, and what
    sorting adds. Methods that missed the tolerance are named and take no part.
    """
    everything = comparison["methods"]
    methods = {m["name"]: m for m in everything if not m["unconverged"]}
    count = len(comparison["instances"])
    sentences = []
    if methods:
        fastest = min(methods.values(), key=lambda m: m["median"]["seconds"])
        sentences.append(
            f"On these {count} instances {fastest['label']} was the fastest: "
            f"{1e3 * fastest['median']['seconds']:.3g} ms an instance (median)."
        )
        own = everything[0]
        if own is fastest:
            sentences[-1] += " It is the method that made this dataset."
        elif not own["unconverged"]:
            ratio = ratio_of(own["median"]["seconds"], fastest["median"]["seconds"])
            sentences[-1] += (
                f" {own['label']}, which made this dataset, was {compare_seconds(ratio)} that."
            )

    def versus(name: str, other: str, text: str) -> None:
        if name in methods and other in methods:
            first, second = methods[name]["median"], methods[other]["median"]
            ratios = {key: ratio_of(first[key], second[key]) for key in ("iterations", "seconds")}
            sentences.append(
                text.format(
                    iterations=compare_iterations(
                        ratio_of(first["iterations"], second["iterations"])
                    ),
                    seconds=compare_seconds(ratios["seconds"]),
                    applied=f"{first['operator_applications']:g}",
                    applied_other=f"{second['operator_applications']:g}",
                    other=methods[other]["label"],
                    first=f"{first['iterations']:g}",
                    second=f"{second['iterations']:g}",
                )
            )

    versus(
        "recycled",
        "gmres",
        "Recycling GCRO-DR needed {iterations} {other} ({first} against {second}) and was "
        "{seconds} it. Rebuilding the recycled space for each system is work beside the "
        "iterations: in all it applied A {applied} times, {other} {applied_other} times.",
    )
    versus(
        "recycled",
        "fresh",
        "What is due to recycling from one instance to the next: {iterations} the same method "
        "that starts each instance with nothing ({first} against {second}).",
    )
    versus(
        "recycled",
        "unsorted",
        "What is due to sorting: {iterations} on the same instances as they were drawn "
        "({first} against {second}).",
    )
    for method in everything:
        if method["unconverged"]:
            sentences.append(
                f"{method['label']} missed the tolerance on {method['unconverged']} of the "
                f"{count} instances."
            )
    return sentences


#: Orders in words, by the configuration's name.
ORDERS = {
    "greedy": "greedy chain",
    "hilbert": "Hilbert curve, greedy inside cells,",
    "or_opt": "Hilbert curve, greedy inside cells and refined by Or-opt,",
    "spanning_tree": "walk around a spanning tree",
}


def describe_order(method: str, length: float, length_given: float) -> str:
    """Say how much shorter the path through the instances became."""
    if method == "given" or length_given == 0:
        return "The instances are solved as they were drawn; nothing was sorted."
    saved = 1 - length / length_given
    return (
        f"The {ORDERS[method]} is {abs(saved):.0%} {'shorter' if saved >= 0 else 'longer'} than "
        f"the path through the instances as drawn ({_number(length)} against "
        f"{_number(length_given)})."
    )


def describe_training(metrics: Mapping[str, Any], split: str) -> str:
    """Say how far the neural operator is from the baselines on a split."""
    errors = {name: metrics[name][split]["relative_l2"] for name in ("fno", "linear", "mean")}

    def versus(name: str) -> str:
        word = "smaller" if errors["fno"] < errors[name] else "larger"
        times = _times(ratio_of(errors[name], errors["fno"]))
        return f"{times}{word} than that of the {name} one"

    return (
        f"On the split {split} the relative L2 error of the neural operator is "
        f"{errors['fno']:.3g}, {versus('linear')} and {versus('mean')} (the predictors that "
        "learn nothing but a linear map and nothing but the mean)."
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def ratio_of(first: float, second: float) -> float:
    """Return first / second of two numbers that are not negative; of two zeros it is 1."""
    if second:
        return first / second
    return math.inf if first else 1.0


def _times(ratio: float) -> str:
    if not 0 < ratio < math.inf:
        return ""
    return f"{max(ratio, 1 / ratio):.3g} times "
