# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The programs that pages of the documentation print."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read_blocks(page: str, language: str = "python") -> list[str]:
    """Return the blocks of a language of a page, named from the repository's root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def find_block(page: str, word: str) -> str:
    """Return the only Python block of a page with a certain text."""
    (block,) = [block for block in read_blocks(page) if word in block]
    return block
