# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`python -m kryloset` is `kryloset`."""

from kryloset.cli import main

main()
