# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is checked of a dataset; each check returns what it found, or raises a `DataError`."""
