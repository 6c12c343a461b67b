# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""No randomly damaged file causes a hang or a traceback, or passes the check unnoticed.

Each run damages 500 different files; `make fuzz` damages 5,000.
"""

import secrets

import fuzz
import pytest

pytestmark = pytest.mark.slow


def test_five_hundred_damaged_files(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    seed = secrets.randbelow(2**32)
    cases = list(fuzz.run(seed, range(500)))
    faults = [f"{case.number} ({case.what}): {fault}" for case in cases for fault in case.faults]
    assert not faults, f"python tests/faults/fuzz.py --seed {seed}\n" + "\n".join(faults)
    # Some are found and some are not: neither all refused nor none.
    assert 50 < sum("refused" in case.ends.values() for case in cases) < 500
