# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The programs and commands on the pages of the documentation."""

import re
import shlex
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


def read_calls(*programs: str) -> list[tuple[str, list[str]]]:
    """Return the calls of programs in the code of all pages: names of pages, and words."""
    call = re.compile(rf"(?:\.venv/bin/)?(?:{'|'.join(programs)}) [^#]*")
    found = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        prose, *blocks = split_blocks(page.read_text(encoding="utf-8"))
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        code = [*re.findall(r"`([^`]+)`", prose), *lines]
        matches = [match for text in code if (match := call.match(text))]
        found += [
            (page.name, shlex.split(match[0].removeprefix(".venv/bin/"))) for match in matches
        ]
    return found


def split_blocks(text: str) -> list[str]:
    """Return the text between all blocks of code as one, and each block."""
    parts = re.split(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return ["".join(parts[::2]), *parts[1::2]]
