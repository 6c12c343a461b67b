# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The keys of a dataset's configuration on which each stage depends.

The rules use it to find the stages that must run again, a stage to check that a file fits its
configuration, and a dataset to store the keys that make it again.
"""

from collections.abc import Mapping

#: Keys that decide whether a run goes on, and nothing about an instance that did not fail.
LENIENCE = ("on_failure", "failure_limit")

#: By stage: the stages whose files it reads, and the keys that it reads itself.
STAGES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sort": (
        (),
        (
            "family",
            "parameters",
            "instances",
            *LENIENCE,
            "mesh",
            "count",
            "ood",
            "seed",
            "sort",
            "features",
            "chunks",
            "storage",  # whose precision parameters are drawn in
        ),
    ),
    "solve": (("sort",), ("solver",)),
    "merge": (("solve",), ("splits", "refinement", "about")),
    "compare": (("sort",), ("solver", "comparison")),
    "train": (("merge",), ("training",)),
}

#: Keys of which no solution depends but within the tolerance: instances are kept when they change.
#: A new key is not among them until someone has thought about it.
FREE = frozenset(
    {
        "count",
        "ood",  # whose instances are always solved
        "chunks",
        "sort",
        "features",
        "splits",
        "refinement",
        "about",
        "comparison",
        "training",
        "instances",  # which are compared one by one
        *LENIENCE,
    }
)


def keys_of(stage: str) -> frozenset[str]:
    """Return the keys on which the files of a stage depend, including those of earlier stages.

    Args:
        stage: A key of `STAGES`. `verify` depends on the same keys as `merge`, and `evaluate` on
            those of `train`.
    """
    before, own = STAGES[stage]
    return frozenset(own).union(*map(keys_of, before))
