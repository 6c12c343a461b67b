# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dataset file: its layout, and how it is written, sealed, read and described."""
