# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What stands beside a published dataset, all of it made from the file alone.

A dataset card, its description for machines, the records of its instances, a sample, the statistics
of its variables, and the digests of the files.
"""
