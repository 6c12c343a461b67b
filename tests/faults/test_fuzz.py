# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""No randomly damaged file causes a hang or a traceback, or passes the check unnoticed.

The 500 files that are damaged follow from the code, so that a second run finds a fault again;
every change of the code damages others, and every `make fuzz` 5,000 new ones.
"""

import zlib
from pathlib import Path

import fuzz
import pytest

import kryloset

pytestmark = pytest.mark.slow

PACKAGE = Path(kryloset.__file__).parent


def test_every_damaged_file_is_read_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    code = b"".join(file.read_bytes() for file in sorted(PACKAGE.rglob("*.py")))
    seed = zlib.crc32(code)
    cases = list(fuzz.run(seed, range(500)))
    faults = [f"{case.number} ({case.what}): {fault}" for case in cases for fault in case.faults]
    assert not faults, f"python tests/faults/fuzz.py --seed {seed}\n" + "\n".join(faults)
    # Some files are refused, and some are read.
    assert 50 < sum("refused" in case.ends.values() for case in cases) < 500
