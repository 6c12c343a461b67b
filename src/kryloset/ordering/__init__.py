# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Orders in which neighbours resemble each other, and their division into chunks."""

from kryloset.ordering.greedy import greedy_chain
from kryloset.ordering.partition import partition
from kryloset.ordering.quality import steps

__all__ = ["greedy_chain", "partition", "steps"]
