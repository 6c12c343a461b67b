# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a check says what is wrong."""

from collections.abc import Sequence

from kryloset.errors import DataError


def refuse(what: str, wrong: Sequence[str]) -> None:
    """Fail if anything is wrong, naming the first five.

    Args:
        what: What all of these have in common.
        wrong: What is wrong, one by one; perhaps nothing.

    Raises:
        DataError: Something is wrong.
    """
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(f"{what}: {'; '.join(wrong[:5])}{more}")
