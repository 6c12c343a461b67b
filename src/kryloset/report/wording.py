# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sentences that put measured figures into words."""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.report.measured import BASELINES

#: Ratios closer to 1 than this count as equal: repeated runs differ by as much.
SAME = 0.05


def compare_iterations(ratio: float) -> str:
    """Compare iterations, as in "2.1 times fewer iterations than".

    A ratio of 0 or infinity yields no number.
    """
    if abs(ratio - 1) <= SAME:
        return "about as many iterations as"
    return f"{_times(ratio)}{'more' if ratio > 1 else 'fewer'} iterations than"


def compare_seconds(ratio: float) -> str:
    """Compare speed, as in "1.3 times slower than"."""
    if abs(ratio - 1) <= SAME:
        return "about as fast as"
    return f"{_times(ratio)}{'slower' if ratio > 1 else 'faster'} than"


def describe_comparison(comparison: Mapping[str, Any]) -> list[str]:
    """Return the findings of `comparison.json`, one sentence each.

    The first names the fastest method. The others compare recycling with GMRES, the recycled
    subspace with a fresh start, and sorted with unsorted instances. Methods that missed the
    tolerance are named and excluded.
    """
    everything = comparison["methods"]
    methods = {m["name"]: m for m in everything if not m["unconverged"]}
    # SKR is the recycling method where the dataset is sorted and preconditioned as published.
    recycled = "recycled" if "recycled" in {m["name"] for m in everything} else "skr"
    count = len(comparison["instances"])
    sentences = []
    if methods:
        fastest = min(methods.values(), key=lambda m: m["median"]["seconds"])
        on = f"these {count} instances" if count > 1 else "this instance"
        sentences.append(
            f"On {on} {fastest['label']} was the fastest: "
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
        # What goes from one instance to the next needs two.
        if name in methods and other in methods and (count > 1 or other == "gmres"):
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
        recycled,
        "gmres",
        "Recycling GCRO-DR needed {iterations} {other} ({first} against {second}) and was "
        "{seconds} it. Rebuilding the recycled subspace for each system takes further products "
        "with A: GCRO-DR applied A {applied} times in all, and {other} {applied_other} times.",
    )
    versus(
        recycled,
        "fresh",
        "Recycling between instances led to {iterations} a fresh start for each instance "
        "({first} against {second}).",
    )
    versus(
        recycled,
        "unsorted",
        "Sorting led to {iterations} solving the same instances in the order of drawing "
        "({first} against {second}).",
    )
    for method in everything:
        if missed := method["unconverged"]:
            some = f"{missed} of the {count} instances" if missed < count else "each instance"
            where = some if count > 1 else "the only instance"
            sentences.append(f"{method['label']} missed the tolerance on {where}.")
    return sentences


def describe_refinement(distances: Mapping[str, NDArray[np.float64]], accuracy: Any) -> str:
    """Return a sentence on the discretisation error beside what the tolerance leaves.

    Args:
        distances: By field, distances to solutions on a refined mesh, (instances,).
        accuracy: `accuracy` of `comparison.json`; None if it is not known.
    """
    count = len(next(iter(distances.values())))
    told = ", ".join(
        f"{name} by {np.median(values):.2g} (median), {values.max():.2g} (largest)"
        for name, values in distances.items()
    )
    solved = f"{count} instances were" if count > 1 else "1 instance was"
    sentence = (
        f"{solved} solved again with every edge of the mesh halved. The stored solution differs "
        f"from that one, in the relative L2 norm at the points of the grid: {told}. Errors of a "
        "learned operator below this say nothing of the equation."
    )
    if accuracy is None:
        return sentence
    return f"{sentence} The tolerance leaves {accuracy['algebraic_error']:.1e}."


#: Descriptions of the orders, by their names in the configuration.
ORDERS = {
    "greedy": "greedy chain",
    "hilbert": "Hilbert curve, greedy inside cells,",
    "or_opt": "Hilbert curve, greedy inside cells and refined by Or-opt,",
    "spanning_tree": "walk around a spanning tree",
}


def describe_order(method: str, length: float, length_given: float) -> str:
    """Return a sentence on how much sorting shortened the path through the instances."""
    if method == "given" or length_given == 0:
        return "The instances were solved in the order of drawing, without sorting."
    saved = 1 - length / length_given
    return (
        f"The {ORDERS[method]} is {abs(saved):.0%} {'shorter' if saved >= 0 else 'longer'} than "
        f"the path through the instances as drawn ({_number(length)} against "
        f"{_number(length_given)})."
    )


def describe_training(models: Mapping[str, Any], split: str) -> list[str]:
    """Return sentences that compare the operators with the baselines on a split, and their costs.

    Args:
        models: Content of `models.json`.
        split: The split.
    """
    costs = [
        f"{label} has {model['parameters'][0]:,} weights, and its training took "
        f"{mean(model['seconds']):.3g} s"
        for label, model in models["models"].items()
    ]
    found = {
        label: [of_seed[split]["relative_l2"] for of_seed in model["errors"]]
        for label, model in models["models"].items()
    }
    errors = {label: mean(values) for label, values in found.items() if None not in values}
    if not errors:
        return [f"On the split {split}, no operator has a finite error.", f"{'; '.join(costs)}."]
    best = min(errors, key=lambda label: errors[label])

    def versus(name: str) -> str:
        error = models["baselines"][name]["errors"][0][split]["relative_l2"]
        word = "smaller" if errors[best] < error else "larger"
        return f"{_times(ratio_of(error, errors[best]))}{word} than that of {BASELINES[name]}"

    least = "the least relative L2 error is that" if len(errors) > 1 else "the relative L2 error"
    *others, last = map(versus, models["baselines"])
    compared = f"{', '.join(others)}, and {last}"
    return [
        f"On the split {split}, {least} of {best}, {errors[best]:.3g}: {compared}.",
        f"{'; '.join(costs)}.",
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def ratio_of(first: float, second: float) -> float:
    """Return first / second for non-negative numbers; 1 if both are 0."""
    if second:
        return first / second
    return math.inf if first else 1.0


def _times(ratio: float) -> str:
    if not 0 < ratio < math.inf:
        return ""
    return f"{max(ratio, 1 / ratio):.3g} times "
