# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors that are meant for people: each names the thing, what was expected and what to try."""


class KrylosetError(Exception):
    """A mistake or a fault that the user can do something about; shown without a traceback."""


class ConfigError(KrylosetError):
    """A configuration that cannot be run: the message names the key and the fix."""


class FamilyError(ConfigError):
    """A mistake in a family of PDE instances: the message names class, method and the fix."""


class DataError(KrylosetError):
    """A file that is missing, damaged or from another run: the message names file and fix."""
