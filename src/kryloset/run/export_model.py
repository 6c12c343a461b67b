# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write a trained operator as a program that torch alone loads."""

import logging
from pathlib import Path

from kryloset.config import parse_points
from kryloset.dataset.atomic import require_writable
from kryloset.learn.exported import export_operator
from kryloset.learn.models.base import Task
from kryloset.learn.operator import load_with_network

logger = logging.getLogger(__name__)


def run(model: Path, *, output: Path, grid: str | None = None, network: str | None = None) -> None:
    """Write a trained operator as a program that torch alone loads.

    Args:
        model: Its file.
        output: The file to write.
        grid: Points of the grid of the program, as 33 or 129x65; by default that of training.
        network: The network as `file.py:Class`, if it is one of somebody's own.

    Raises:
        ConfigError: The grid is none, or there is no such network.
        DataError: The model cannot be read, or not exported, as of `export_operator`; or the file
            cannot be written.
    """
    require_writable(output)
    operator = load_with_network(model, network)
    points = None if grid is None else parse_points(grid)
    if isinstance(points, int):
        points = (points,) * Task.read(operator.about).dimensions
    export_operator(operator, output, points)
    logger.info("%s: %.1f MB", output, output.stat().st_size / 1e6)
