# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of the benchmarks."""

import html
import re

from kryloset.report.yardstick import render_printed


def test_the_page_shows_the_printed_output_and_loads_no_files():
    printed = {"families": "| a < b & c |\n| 1.5 |\n", "scale": "two\n"}
    page = render_printed(printed)
    shown = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    assert [html.unescape(text) for text in shown] == list(printed.values())
    assert re.findall(r'<section id="(\w+)"', page) == ["families", "scale"]
    assert "http" not in page
