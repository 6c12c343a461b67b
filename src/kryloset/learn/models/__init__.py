# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks of neural operators: what one is (`base`), by name (`registry`), and a file for each."""
