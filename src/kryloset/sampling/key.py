# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Keys of Philox. The module is loaded when something is drawn, and NumPy's generators with it."""

from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray


class Key(ISeedSequence):
    """The key of a generator, where NumPy expects a seed of which it makes a key.

    A generator with the argument `key` also asks the system for randomness, which it does not use,
    and takes three times as long to make.

    Args:
        seed: First word of the key.
        index: Second word.
    """

    def __init__(self, seed: int, index: int) -> None:
        """Keep the words, 64 bits each."""
        self._words = np.array([seed, index], dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> NDArray[np.uint64]:
        """Return the key."""
        return self._words
