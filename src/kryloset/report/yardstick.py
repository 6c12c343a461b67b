# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of the benchmarks, which shows the output of their commands unchanged."""

from collections.abc import Mapping

from kryloset.report.page import make_environment
from kryloset.report.theme import VARIABLES
from kryloset.version import __version__


def render_printed(printed: Mapping[str, str]) -> str:
    """Return the page as text.

    Args:
        printed: The output of each benchmark, by name, such as `families`.
    """
    template = make_environment().get_template("yardstick.html.jinja")
    return template.render(printed=printed, version=__version__, colours=VARIABLES)
