# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Counter-based random generators.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
is a function of a key and a counter. With (seed, index) as the key, instance `index`
does not depend on chunks or order, and the first 100 of 1,000 instances are those of
a set of 100. What replaces an instance that failed has the same key: the last of the four words of
its counter begins with the number of the attempt. An instance of a shifted distribution
has a key from its place in its split, and the third word of its counter begins with a digest of the
name of the shift. So no two streams overlap, each of 2^130 words or more.
"""

from hashlib import sha256
from typing import Any

import numpy as np

#: Index reserved for the shuffle into splits.
_SPLITS = 2**64 - 1


def generator(seed: int, index: int, attempt: int = 0, shift: str = "") -> "np.random.Generator":
    """Return the generator of one instance.

    Args:
        seed: Seed of the dataset, 0 <= seed < 2^64.
        index: Number of the instance, 0 <= index < 2^64 - 1.
        attempt: How often the instance was drawn before and failed, 0 <= attempt < 2^64.
        shift: Name of the shifted distribution that it is of; by default that of the dataset.

    Raises:
        ValueError: A number is out of range.
    """
    if not 0 <= index < _SPLITS:
        raise ValueError(f"instance {index} is not in [0, 2^64 - 1)")
    if not 0 <= attempt < 2**64:
        raise ValueError(f"attempt {attempt} is not in [0, 2^64)")
    word = int.from_bytes(sha256(shift.encode()).digest()[:8]) if shift else 0
    return _keyed(seed, index, attempt << 64 | word)


def split_generator(seed: int) -> "np.random.Generator":
    """Return the generator that assigns the instances of a dataset to splits."""
    return _keyed(seed, _SPLITS)


def _keyed(seed: int, index: int, words: int = 0) -> "np.random.Generator":
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed {seed} is not in [0, 2^64)")
    from kryloset.sampling.key import Key

    # NumPy's type hints know no seeds but its own.
    key: Any = Key(seed, index)
    # The counter is that of NumPy's: its first word counts fastest.
    return np.random.Generator(np.random.Philox(key, counter=words << 128))
