# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors for people: each message names the thing, what was expected, and what to try."""


class KrylosetError(Exception):
    """An error that the user can do something about; shown without a traceback."""


class ConfigError(KrylosetError):
    """An invalid configuration; the message names the key and a remedy."""


class FamilyError(ConfigError):
    """A mistake in a family of PDE instances; the message names class, method and a remedy."""


class DataError(KrylosetError):
    """A file that is missing, damaged or from another run; the message names it and a remedy."""
