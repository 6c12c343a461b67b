# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page shows lines, boxes, vectors and trajectories, and how to open their files."""

import html
import re
from pathlib import Path

from mpi4py import MPI

import matplotlib
import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.dataset.reader import Dataset
from kryloset.report.page import illustrate, render
from kryloset.run import solve, sort
from kryloset.run.report import read_findings
from merging import merge_verified

FAMILIES = Path(__file__).parents[1] / "dataset" / "various.py"


@pytest.fixture(
    scope="module",
    params=[("Various", 1), ("Moving", 2), ("Meshed", 3)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def findings(request, run_files, tmp_path_factory):
    """Findings of a family without a PDE; its comparison is that of another dataset."""
    family, dimension = request.param
    folder = tmp_path_factory.mktemp("kinds")
    config = DatasetConfig(
        family=f"{FAMILIES}:{family}", count=3, chunks=1,
        mesh={"points": 5, "dimension": dimension}, splits={"train": 0.6, "test": 0.4},
    )  # fmt: skip
    names = ("order.h5", "dataset.h5", "timings.json", "check.json")
    paths = {name.partition(".")[0]: folder / name for name in names}
    order = paths["order"]
    sort.run(config, "set", output=order)
    chunk = folder / "chunk.h5"
    solve.run(config, "set", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    merge_verified(config, "set", order=order, chunks=[chunk], output=paths["dataset"])
    return read_findings(**paths, comparison=run_files["comparison"])


@pytest.fixture(scope="module")
def drawings(findings):
    """The pictures of the page."""
    return illustrate(findings)


def test_every_kind_of_family_has_pictures_of_samples(findings, drawings):
    """Pictures of a line are its values, of a box its middle, of a vector its magnitude."""
    drawing = drawings["samples"]
    dimension, moving = findings.family.dimension, findings.family.times is not None
    rows = ["k", "wind", "soil", *["u", "flux"] * (3 if moving else 1)]
    assert drawing.description.startswith("Graphs" if dimension == 1 else "Maps")
    assert drawing.description.count("magnitude of") == 2 + 2 * moving
    assert ("time 0.5" in drawing.description) == moving
    axes = drawing.figure.axes[: len(rows) * (3 if dimension == 1 else 1)]
    titles = [axis.get_title("left") for axis in axes[:3]]
    if dimension > 1:
        titles = [text.get_text() for text in axes[0].texts]
    assert titles == [f"instance {number}" for number in findings.permutation]
    with Dataset(findings.path) as data:
        for column, instance in enumerate(findings.permutation):
            flux = data.solution(instance)["flux"]
            expected = np.linalg.norm(flux[-1] if moving else flux, axis=-1)
            if dimension == 1:
                shown = axes[-3 + column].lines[0].get_ydata()
            else:
                shown = axes[-1].images[column].get_array().T
            plane = expected if dimension < 3 else expected[..., 2]
            np.testing.assert_array_equal(shown, plane)


def test_the_page_names_the_axes_and_how_to_open_the_fields(findings, drawings):
    text = render(findings, drawings)
    dimension, moving = findings.family.dimension, findings.family.times is not None
    assert f"<dd>{' × '.join(['5'] * dimension)} <small>" in text
    axes = ", ".join("xyz"[:dimension])
    assert f"<td>parameter</td><td>m s-1</td><td>{axes}, component</td>" in text
    assert "<td>parameter</td><td>m</td><td>corner, component</td>" in text
    time = "time, " if moving else ""
    assert f"<td>solution</td><td>kg m-3</td><td>{time}{axes}</td>" in text
    assert f"<td>solution</td><td>kg m-3</td><td>{time}u_dof</td>" in text
    matplotlib.use("Agg")
    for block in re.findall(r"<pre><code>(import .*?)</code></pre>", text, re.DOTALL):
        scope: dict = {}
        exec(html.unescape(block), scope)
        assert "u" in scope
