# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Of files damaged at random, other ones each time, none hangs, traces back or passes unseen.

Each run damages a hundred new ones, so that many runs try many; `make fuzz` tries 5,000 at once.
"""

import secrets

import fuzz
import pytest

pytestmark = pytest.mark.slow


def test_a_hundred_damaged_files(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    seed = secrets.randbelow(2**32)
    cases = list(fuzz.run(seed, range(100)))
    faults = [f"{case.number} ({case.what}): {fault}" for case in cases for fault in case.faults]
    assert not faults, f"python tests/faults/fuzz.py --seed {seed}\n" + "\n".join(faults)
    # Some are found and some are not: neither all refused nor none.
    assert 10 < sum("refused" in case.ends.values() for case in cases) < 100
