# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset`, and `python -m kryloset`, which is the same."""

import sys

from kryloset.errors import KrylosetError
from kryloset.extras import advised


def main() -> None:
    """Run the command line, or say what it lacks."""
    try:
        with advised():
            from kryloset.cli import main as run
    except KrylosetError as error:
        sys.exit(f"kryloset: error: {error}")
    run()


if __name__ == "__main__":
    main()
