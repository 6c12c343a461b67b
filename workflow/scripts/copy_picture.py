# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""copy_picture.py FROM TO: copy a picture into the documentation, scaled down."""

import sys
from pathlib import Path

from PIL import Image

WIDTH = 1200
COLOURS = 128


def main(source: Path, target: Path) -> None:
    """Write a copy at most `WIDTH` pixels wide, in `COLOURS` colours."""
    with Image.open(source) as picture:
        small = picture.convert("RGB")
    small.thumbnail((WIDTH, small.height))
    target.parent.mkdir(parents=True, exist_ok=True)
    small.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
