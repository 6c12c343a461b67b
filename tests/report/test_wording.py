# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The sentences of the report agree with the figures."""

import pytest
from trained import trained_models

from kryloset.report.wording import (
    compare_iterations,
    compare_seconds,
    describe_comparison,
    describe_order,
    describe_training,
)

#: Label, and medians of iterations, applications of A and seconds.
METHODS = {
    "recycled": ("GCRO-DR, recycled", 20.0, 42.0, 0.020),
    "unsorted": ("GCRO-DR, unsorted", 20.5, 42.5, 0.021),
    "fresh": ("GCRO-DR, fresh", 50.0, 51.0, 0.030),
    "gmres": ("GMRES", 60.0, 61.0, 0.016),
    "cg": ("CG", 45.0, 46.0, 0.005),
}


def comparison(methods=METHODS, **unconverged):
    return {
        "instances": [3, 5],
        "methods": [
            {
                "name": name,
                "label": label,
                "unconverged": unconverged.get(name, 0),
                "median": {
                    "iterations": iterations,
                    "operator_applications": applications,
                    "seconds": seconds,
                },
            }
            for name, (label, iterations, applications, seconds) in methods.items()
        ],
    }


@pytest.mark.parametrize(
    ("ratio", "iterations", "seconds"),
    [
        (0.25, "4 times fewer iterations than", "4 times faster than"),
        (1.0, "about as many iterations as", "about as fast as"),
        (0.96, "about as many iterations as", "about as fast as"),
        (1.5, "1.5 times more iterations than", "1.5 times slower than"),
        (0.0, "fewer iterations than", "faster than"),
        (float("inf"), "more iterations than", "slower than"),
    ],
)
def test_ratios_are_put_into_words(ratio, iterations, seconds):
    assert compare_iterations(ratio) == iterations
    assert compare_seconds(ratio) == seconds


def test_the_fastest_method_is_named_if_it_is_another():
    first, against_gmres, recycling, sorting = describe_comparison(comparison())
    assert "CG was the fastest: 5 ms" in first
    assert "GCRO-DR, recycled, which made this dataset, was 4 times slower than that" in first
    assert "3 times fewer iterations than GMRES (20 against 60)" in against_gmres
    assert "1.25 times slower than it." in against_gmres
    assert "GCRO-DR applied A 42 times in all, and GMRES 61 times" in against_gmres
    assert "2.5 times fewer iterations than a fresh start" in recycling
    assert "about as many iterations as" in sorting


def test_skr_is_what_recycles_where_nothing_else_does():
    """On a dataset that is sorted and preconditioned as published."""
    published = {"skr" if name == "recycled" else name: m for name, m in METHODS.items()}
    assert describe_comparison(comparison(published)) == describe_comparison(comparison())


def test_the_datasets_own_method_is_named_if_it_is_the_fastest():
    without_cg = {name: METHODS[name] for name in ("gmres", "recycled")}
    reordered = comparison({**without_cg, "gmres": ("GMRES", 60.0, 61.0, 0.001)})
    assert "GMRES was the fastest: 1 ms" in describe_comparison(reordered)[0]
    assert "It is the method that made this dataset." in describe_comparison(reordered)[0]


def test_one_instance_does_not_show_what_goes_from_one_to_the_next():
    first, against_gmres = describe_comparison(comparison() | {"instances": [3]})
    assert first.startswith("On this instance CG was the fastest")
    assert "fewer iterations than GMRES" in against_gmres


def test_a_method_that_missed_the_tolerance_is_not_the_fastest():
    first, *rest = describe_comparison(comparison(cg=1, gmres=2))
    assert "GCRO-DR, recycled was the fastest" in first
    assert not any("needed" in sentence for sentence in rest), "GMRES is no measure any more"
    assert "CG missed the tolerance on 1 of the 2 instances." in rest
    assert "GMRES missed the tolerance on each instance." in rest
    *_, one = describe_comparison(comparison(gmres=1) | {"instances": [3]})
    assert one == "GMRES missed the tolerance on the only instance."


@pytest.mark.parametrize("zero", ["recycled", "gmres", "all"])
def test_medians_of_zero_are_compared_without_a_number(zero):
    chosen = METHODS if zero == "all" else (zero,)
    nothing = {name: (METHODS[name][0], 0.0, 0.0, 0.0) for name in chosen}
    first, against_gmres, *_ = describe_comparison(comparison(METHODS | nothing))
    assert "was the fastest: 0 ms" in first
    word = {"recycled": "fewer iterations than GMRES (0 against 60) and was faster than it",
            "gmres": "more iterations than GMRES (20 against 0) and was slower than it",
            "all": "about as many iterations as GMRES (0 against 0)"}[zero]  # fmt: skip
    assert f"Recycling GCRO-DR needed {word}" in against_gmres


def test_a_training_error_of_zero_is_put_into_words():
    models = trained_models({"fno": [0.0]})
    models["baselines"]["mean"]["errors"] = models["models"]["fno"]["errors"]
    sentence, _ = describe_training(models, "test")
    assert "larger than that of the mean of the training split" in sentence
    models = trained_models({"fno": [0.0]})
    sentence, _ = describe_training(models, "test")
    assert ", and smaller than that of the mean of the training split" in sentence


def test_an_operator_without_a_finite_error_is_none_to_compare():
    models = trained_models({"fno": [0.05], "unet": [0.01]})
    models["models"]["unet"]["errors"][0]["test"]["relative_l2"] = None
    sentence, _ = describe_training(models, "test")
    assert "of fno, 0.05" in sentence
    models["models"]["fno"]["errors"][0]["test"]["relative_l2"] = None
    sentence, costs = describe_training(models, "test")
    assert "no operator has a finite error" in sentence and "unet has" in costs


def test_the_order_is_put_into_words():
    assert "25% shorter" in describe_order("greedy", 75.0, 100.0)
    assert "10% longer" in describe_order("greedy", 110.0, 100.0)
    assert "without sorting" in describe_order("given", 100.0, 100.0)
