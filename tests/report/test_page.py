# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page is complete and well formed, loads no other files and agrees with its inputs."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from trained import trained_models

from kryloset.config import DatasetConfig
from kryloset.dataset.predictions import Predictions, write_predictions
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.report import figures
from kryloset.report.page import illustrate
from kryloset.run import report

SECTIONS = {
    "dataset", "samples", "verified", "sorting", "iterations", "seconds", "recycling",
    "training", "open", "provenance",
}  # fmt: skip
#: Elements of HTML that have no end.
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A parser of the page that refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        """Parse the page."""
        super().__init__()
        self.text, self.open = text, []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.sections: set[str] = set()
        self.references: list[str] = []
        self.figures: list[str | None] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        """Note the element that begins."""
        attributes = dict(attrs)
        self.tags[tag] += 1
        if "id" in attributes:
            self.ids[attributes["id"]] += 1
        if tag == "section":
            self.sections.add(attributes["id"])
        if tag == "svg":
            self.figures.append(attributes.get("aria-label"))
        for key in ("src", "href", "xlink:href", "srcset", "data", "poster"):
            if key in attributes:
                self.references.append(attributes[key])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Note an element that begins and ends at once."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        """Refuse an end tag that does not match the last element."""
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


@pytest.fixture(scope="module")
def pages(run_files, training_files, tmp_path_factory) -> dict[str, Path]:
    """The folders of a report without training and of one with it."""
    folders = {}
    for name, more in (("plain", {}), ("trained", training_files)):
        folders[name] = folder = tmp_path_factory.mktemp(name)
        report.run(
            **run_files, **more,
            output=folder / "report.html", figures=folder / "figures",
        )  # fmt: skip
    return folders


@pytest.fixture(params=["plain", "trained"])
def page(request, pages) -> Page:
    return Page((pages[request.param] / "report.html").read_text(encoding="utf-8"))


def test_page_is_whole_and_its_tags_match(page):
    assert page.sections == SECTIONS
    assert page.tags["h1"] == 1
    assert page.tags["h2"] == len(SECTIONS)


def test_the_published_method_is_shown_beside_the_others(page):
    assert "SKR: GCRO-DR(40,20) + ILU, recycled</th>" in page.text


def test_page_loads_nothing_from_elsewhere(page):
    assert page.references
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert page.tags["script"] == page.tags["iframe"] == 0
    loads = re.findall(r"@import|url\((?!#)", page.text)
    assert not loads
    assert len(page.text.encode()) < 3_000_000


def test_every_reference_within_the_page_has_one_target(page):
    targets = {reference[1:] for reference in page.references if reference.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", page.text))
    assert targets <= set(page.ids)
    assert max(page.ids.values()) == 1


def test_every_figure_is_described_and_follows_the_theme(page):
    assert len(page.figures) == 5 + (page.tags["summary"] > 2)
    assert all(label and len(label) > 20 for label in page.figures)
    for drawing in re.findall(r"<svg.*?</svg>", page.text, flags=re.DOTALL):
        assert "var(--ink)" in drawing
        assert "#1b1f24" not in drawing


def test_every_label_is_inside_its_figure(run_files, training_files):
    findings = report.read_findings(**run_files, **training_files)
    findings = replace(findings, refinement={"u": np.geomspace(1e-3, 1e-2, 4)})
    for name, drawing in illustrate(findings).items():
        (width, height), box = drawing.figure.get_size_inches(), drawing.figure.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, name


@pytest.mark.parametrize("scale", [1.28e-4, 0.04, 35, 715, 12_300])
def test_numbers_of_bars_are_inside_their_figure_whatever_their_size(scale):
    labels = ["assembly", "factorisation", "solution"]
    values = [scale, scale / 3, scale / 9]
    for figure in (
        figures.seconds(dict(zip(labels, values, strict=True))),
        figures.comparison(labels, values, values, own=1),
    ):
        (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_figures_are_files_too(pages):
    names = {"samples.svg", "sort.svg", "iterations.svg", "seconds.svg"}
    names |= {"comparison.svg"}
    assert {path.name for path in (pages["plain"] / "figures").iterdir()} == names
    trained = pages["trained"] / "figures"
    assert {path.name for path in trained.iterdir()} == names | {"training.svg"}
    for path in trained.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_page_counts_the_instances_of_each_strategy(config, page, run_files):
    assert config.solver.method == "auto"
    assert "Automatic selection chose a strategy for each system" in page.text
    with h5py.File(run_files["dataset"]) as file:
        way, attributes = file["solver/way"][:], dict(file["solver/way"].attrs)
    rows = re.findall(
        r'<tr><th scope="row">([^<]+ \+ [^<]+)</th><td class="figure">(\d+)</td>', page.text
    )
    assert {name.replace(" ", ""): int(count) for name, count in rows} == {
        name: int((way == number).sum())
        for number, name in enumerate(attributes["flag_meanings"].split())
    }


def test_page_shows_the_result_of_the_check(run_files, tmp_path):
    found = json.loads(run_files["check"].read_text())
    found["passed"] = found["checks"][0]["passed"] = False
    found["checks"][0]["detail"] = "<b>bad</b> & worse"
    broken = tmp_path / "check.json"
    broken.write_text(json.dumps(found))
    files = {**run_files, "check": broken}
    report.run(**files, output=tmp_path / "r.html", figures=tmp_path / "f")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"1 of {len(found['checks'])} checks failed" in text
    assert "&lt;b&gt;bad&lt;/b&gt; &amp; worse" in text
    assert "<b>bad" not in text


def test_page_shows_a_training_if_there_was_one(pages):
    plain, trained = (
        (pages[name] / "report.html").read_text(encoding="utf-8") for name in ("plain", "trained")
    )
    assert "made without results of training" in plain
    assert "made without results of training" not in trained
    assert "the relative L2 error of fno, 0.05: 4 times smaller than that of the linear" in trained
    assert ", 6 times smaller than that of the nearest neighbour in the training split" in trained
    assert ", and 8 times smaller than that of the mean of the training split." in trained
    assert "the relative L2 error of fno is at most 0.25" in trained
    assert "On the split test this holds for 50% and 50% of the instances." in trained
    assert "on the split test by the points of the grid" in trained
    assert "fno has 12,345 weights, and its training took 6.5 s." in trained


def test_page_compares_several_models_by_mean_and_spread(run_files, digest, tmp_path):
    models = {"fno": [0.04, 0.06], "Net": [0.1, 0.3]} | {f"m{n}": [0.5, 0.5] for n in range(8)}
    table = trained_models(models, digest=digest)
    (tmp_path / "models.json").write_text(json.dumps(table))
    given = run_files | {"models": tmp_path / "models.json"}
    drawing = illustrate(report.read_findings(**given))["training"]
    (width, height), box = drawing.figure.get_size_inches(), drawing.figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    report.run(**given, output=tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "the least relative L2 error is that of fno, 0.05: 4 times smaller" in text
    assert '<td class="figure">0.0500 ± 0.0141</td>' in text
    assert 'Net</th><td class="figure">0.2000 ± 0.1414</td>' in text


def test_page_shows_errors_by_chunk_of_a_training_while_solving(run_files, digest, tmp_path):
    table = trained_models({"fno": [0.05]}, digest=digest)
    # The first chunk did not fill the buffer.
    table["models"]["fno"]["history"][0] |= {"train": [None, 0.1, 0.04], "waited": [1.0] * 3}
    (tmp_path / "models.json").write_text(json.dumps(table))
    given = run_files | {"models": tmp_path / "models.json"}
    (axis,) = illustrate(report.read_findings(**given))["training"].figure.axes
    assert axis.get_xlabel() == "chunk"
    report.run(**given, output=tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "Relative L2 error by chunk" in text and "epoch" not in text


def test_page_shows_errors_along_trajectories(run_files, digest, tmp_path):
    rollout = {
        "times": [0.1, 0.2, 0.4, 0.8, 1.6],  # of which the last was predicted beyond the truth
        "errors": {"relative_l2": [0.01, 0.02, 0.03, None]},
        "fields": {"u": {"spectrum": {"predicted": [1.0, 0.1], "true": [1.0, 0.2]}}},
    }
    table = trained_models({"fno": [0.05]}, rollout, digest)
    (tmp_path / "models.json").write_text(json.dumps(table))
    given = run_files | {"models": tmp_path / "models.json"}
    drawing = illustrate(report.read_findings(**given))["rollout"]
    (width, height), box = drawing.figure.get_size_inches(), drawing.figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert len(drawing.figure.axes[1].lines) == 1 + len(drawing.figure.axes[0].lines)
    report.run(**given, output=tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "t = 0.2</th>" in text and "t = 0.8</th>" in text and "t = 0.4" not in text
    assert '<td class="figure">0.0200</td><td class="figure">–</td>' in text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (trained_models({"fno": [0.05]}), "models.json has errors on another dataset; make it"),
        (
            {"models": {"fno": {}}, "baselines": {}},
            "models.json is no table of models: 'dataset'; make it again",
        ),
        (
            {"models": {"fno": {"dataset": ["0"]}}, "baselines": {}},
            "models.json is no table of models: 'rollout'; make it again",
        ),
        ([], "models.json is no table of models"),
    ],
)
def test_errors_on_another_dataset_are_refused(run_files, tmp_path, table, message):
    (tmp_path / "models.json").write_text(json.dumps(table))
    given = run_files | {"models": tmp_path / "models.json"}
    with pytest.raises(DataError, match=message):
        report.run(**given, output=tmp_path / "r.html")


def test_page_shows_predictions_on_its_dataset_alone(run_files, training_files, digest, tmp_path):
    with Dataset(run_files["dataset"]) as data:
        coordinates = data.coordinates
    truth = np.random.default_rng(0).random((3, 1, 17, 17))
    found = Predictions(
        "fno", digest, "test", ("u",), coordinates, np.array([1, 0, 2]), np.array([0.1, 0.2, 0.3]),
        truth, truth + 1,
    )  # fmt: skip
    write_predictions(tmp_path / "p.h5", found)
    given = run_files | training_files | {"predictions": [tmp_path / "p.h5"]}
    report.run(**given, output=tmp_path / "r.html", figures=tmp_path / "figures")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert (tmp_path / "figures/predictions-fno.svg").exists()
    (label,) = (label for label in page.figures if label.startswith("Truth, prediction of fno"))
    assert "worst instance 2 with a relative L2 error of 0.3" in label
    del given["models"]
    report.run(**given, output=tmp_path / "r.html")
    assert label in Page((tmp_path / "r.html").read_text(encoding="utf-8")).figures
    write_predictions(tmp_path / "p.h5", replace(found, dataset="0" * 64))
    with pytest.raises(DataError, match="has predictions on another dataset"):
        report.run(**given, output=tmp_path / "r.html")


def test_same_files_give_the_same_page(run_files, pages, tmp_path):
    report.run(**run_files, output=tmp_path / "r.html", figures=tmp_path / "f")
    again = (tmp_path / "r.html").read_bytes()
    assert again == (pages["plain"] / "report.html").read_bytes()


def test_a_single_instance_has_a_page_too(config, make_files, tmp_path):
    settings = {"count": 1, "chunks": 1, "splits": {"train": 1.0}}
    single = DatasetConfig.model_validate(config.model_dump() | settings)
    files = make_files(single, tmp_path)
    report.run(**files, output=tmp_path / "r.html", figures=tmp_path / "f")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.sections == SECTIONS
    assert not (tmp_path / "f" / "sort.svg").exists()
    assert "without sorting" in page.text


def test_solutions_without_iterations_have_a_page_too(config, make_files, tmp_path):
    """All solutions are multiples of one, and the sort cannot tell the instances apart."""
    family = f"{Path(__file__).with_name('amplitude.py')}:Amplitude"
    settings = {"family": family, "parameters": {}, "chunks": 1, "mesh": {"points": 9}}
    amplitude = DatasetConfig.model_validate(config.model_dump() | settings)
    files = make_files(amplitude, tmp_path)
    comparison = json.loads(files["comparison"].read_text())
    iterations = {m["name"]: m["median"]["iterations"] for m in comparison["methods"]}
    assert iterations["skr"] == 0 < iterations["gmres"]
    report.run(**files, output=tmp_path / "r.html", figures=tmp_path / "f")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "needed fewer iterations than" in page.text
    assert (tmp_path / "f" / "samples.svg").exists()


@pytest.mark.parametrize("name", ["order", "dataset", "timings", "check", "comparison"])
def test_a_damaged_file_is_named_and_nothing_is_written(name, run_files, tmp_path):
    damaged = tmp_path / run_files[name].name
    damaged.write_bytes(run_files[name].read_bytes()[:20])
    files = {**run_files, name: damaged}
    with pytest.raises(DataError, match=re.escape(str(damaged))):
        report.run(**files, output=tmp_path / "r.html", figures=tmp_path / "f")
    assert not (tmp_path / "r.html").exists()


def test_a_dataset_alone_has_a_page_that_says_what_it_needs(run_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset.h5").write_bytes(run_files["dataset"].read_bytes())
    report.run(Path("dataset.h5"), Path("page.html"))
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.sections == SECTIONS
    assert len(page.figures) == 2  # samples and iterations
    for option in ("order order.h5", "timings timings.json", "comparison comparison.json"):
        assert f"kryloset report dataset.h5 --{option}" in page.text
    assert "kryloset check dataset.h5 --output check.json" in page.text
    assert {path.name for path in tmp_path.iterdir()} == {"dataset.h5", "page.html"}
