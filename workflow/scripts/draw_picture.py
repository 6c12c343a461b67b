# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""draw_picture.py RESULTS TO: draw samples of a dataset as a small PNG for the documentation."""

import io
import sys
from pathlib import Path

from PIL import Image

from kryloset.report.page import illustrate
from kryloset.report.theme import encode
from kryloset.run.report import read_findings

WIDTH = 1200
COLOURS = 128


def main(results: Path, target: Path) -> None:
    """Write a picture at most `WIDTH` pixels wide, in `COLOURS` colours."""
    figure = illustrate(read_findings(results / "dataset.h5"))["samples"].figure
    with Image.open(io.BytesIO(encode(figure, "png"))) as picture:
        small = picture.convert("RGB")
    small.thumbnail((WIDTH, small.height))
    target.parent.mkdir(parents=True, exist_ok=True)
    small.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
