# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What each stage depends on of a dataset's configuration: the one source.

By it the rules know when a stage has to run again, a stage after it whether a file fits, and
the dataset's file which keys make it again.
"""

from collections.abc import Mapping

#: The stages whose files a stage reads, and the keys that it reads itself.
STAGES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sample": ((), ("family", "parameters", "mesh", "count", "seed")),
    "sort": (("sample",), ("sort", "features", "chunks")),
    "solve": (("sort",), ("solver",)),
    "merge": (("solve",), ("splits",)),
    "compare": (("sort",), ("solver", "comparison")),
    "report": (("merge", "compare"), ()),
    "train": (("merge",), ("training",)),
}


def keys_of(stage: str) -> frozenset[str]:
    """Return the keys that a stage's files depend on, those of the stages before it included.

    Args:
        stage: A stage that has a configuration: `sample`, `sort`, `solve`, `merge`, `compare`,
            `report`, or `train`, which says what `evaluate` depends on too.
    """
    before, own = STAGES[stage]
    return frozenset(own).union(*map(keys_of, before))
