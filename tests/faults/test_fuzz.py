# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""No randomly damaged file causes a hang or a traceback, or passes the check unnoticed.

The 500 files are damaged with the same seed each time, so that a change is not refused for a fault
that was there before it. Every `make fuzz` damages 5,000 new ones.
"""

import fuzz
import pytest

pytestmark = pytest.mark.slow

SEED = 12


def test_every_damaged_file_is_read_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    cases = list(fuzz.run(SEED, range(500)))
    faults = [f"{case.number} ({case.what}): {fault}" for case in cases for fault in case.faults]
    assert not faults, f"python tests/faults/fuzz.py --seed {SEED}\n" + "\n".join(faults)
    # Some files are refused, and some are read.
    assert 50 < sum("refused" in case.ends.values() for case in cases) < 500
