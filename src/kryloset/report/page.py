# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page: one HTML file that loads nothing from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from kryloset.config import dump_dataset
from kryloset.problems import Variable
from kryloset.report import figures, wording
from kryloset.report.findings import Findings
from kryloset.report.theme import VARIABLES, inline

#: Instances in the gallery.
SAMPLES = 5


@dataclass(frozen=True)
class Illustration:
    """A figure with what is said about it.

    Attributes:
        name: Name of its file, without the suffix.
        figure: The drawing.
        description: What is seen, for people who do not see it.
    """

    name: str
    figure: Figure
    description: str

    def inline(self) -> Markup:
        """Return the drawing as an element of the page."""
        return Markup(inline(self.figure, self.name, self.description))


def illustrate(findings: Findings) -> dict[str, Illustration]:
    """Draw all figures that a run gives reason to, by name."""
    drawings = [
        _samples(findings),
        _sort(findings),
        _iterations(findings),
        _seconds(findings),
        _comparison(findings),
        _training(findings),
    ]
    return {drawing.name: drawing for drawing in drawings if drawing is not None}


def render(findings: Findings, illustrations: Mapping[str, Illustration]) -> str:
    """Return the page as text."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"size": _size, "plain": _plain}
    source = files("kryloset.report").joinpath("template.html.jinja").read_text(encoding="utf-8")
    comparison, order = findings.comparison, findings.order
    return environment.from_string(source).render(
        findings=findings,
        config=findings.config,
        family=findings.family,
        check=findings.check,
        comparison=comparison,
        comparison_sentences=wording.describe_comparison(comparison),
        order_sentence=wording.describe_order(
            order.method, order.steps.sum(), order.steps_given.sum()
        ),
        configuration=dump_dataset(findings.name, findings.config),
        iterations=float(np.median(findings.solver["iterations"])),
        residual=float(findings.solver["true_residual"].max()),
        escalated=int((findings.solver["escalations"] > 0).sum()),
        seconds=sum(_parts(findings).values()),
        pictures=illustrations,
        colours=VARIABLES,
    )


def _samples(findings: Findings) -> Illustration | None:
    """Draw instances evenly spread over the solving order, so that they differ."""
    variables = findings.pictured()
    if not variables:
        return None
    places = np.linspace(0, findings.config.count - 1, min(SAMPLES, findings.config.count))
    instances = [int(findings.order.permutation[round(place)]) for place in places]
    rows = [
        figures.Pictures(
            label=_label(variable),
            values=findings.values(variable, instances),
            computed=variable in findings.family.fields,
            logarithmic=variable.transform == "log",
        )
        for variable in variables
    ]
    first, second = variables[0].dimensions
    coordinates = findings.family.coordinates
    figure = figures.samples(
        rows, instances, coordinates[first], coordinates[second], (first, second)
    )
    names = " and ".join(variable.long_name for variable in variables)
    shown = ", ".join(map(str, instances))
    return Illustration("samples", figure, f"Maps of {names} of the instances {shown}.")


def _sort(findings: Findings) -> Illustration | None:
    order = findings.order
    if not len(order.steps):
        return None
    return Illustration(
        "sort",
        figures.neighbours(order.steps, order.steps_given),
        f"Distances between neighbours: {order.steps.mean():.3g} on average in solving order, "
        f"{order.steps_given.mean():.3g} as drawn.",
    )


def _iterations(findings: Findings) -> Illustration:
    order = findings.order.permutation
    counts = findings.solver["iterations"][order]
    helped = findings.solver["predecessor"][order] >= 0
    return Illustration(
        "iterations",
        figures.iterations(counts, helped, findings.order.bounds),
        f"Iterations by instance along the solving order, between {counts.min()} and "
        f"{counts.max()}, {np.median(counts):g} in the middle.",
    )


def _parts(findings: Findings) -> dict[str, float]:
    """Return the seconds by part of the work, summed over the instances."""
    parts = {"sort": float(findings.timings["sort"])}
    return parts | {
        part: float(np.sum(values)) for part, values in findings.timings["instances"].items()
    }


def _seconds(findings: Findings) -> Illustration:
    parts = _parts(findings)
    told = ", ".join(f"{part} {value:.3g} s" for part, value in parts.items())
    return Illustration("seconds", figures.seconds(parts), f"Seconds by part: {told}.")


def _comparison(findings: Findings) -> Illustration:
    methods = findings.comparison["methods"]
    told = "; ".join(
        f"{m['label']}: {m['median']['iterations']:g} iterations, "
        f"{1e3 * m['median']['seconds']:.3g} ms"
        for m in methods
    )
    figure = figures.comparison(
        [m["label"] for m in methods],
        [m["median"]["iterations"] for m in methods],
        [m["median"]["seconds"] for m in methods],
        own=0,
    )
    return Illustration("comparison", figure, f"Medians by method. {told}.")


def _training(findings: Findings) -> Illustration | None:
    if findings.history is None:
        return None
    curves = {split: np.asarray(losses) for split, losses in findings.history.items()}
    figure = figures.training(curves, "relative L2 error")
    return Illustration("training", figure, "Losses by epoch.")


def _label(variable: Variable) -> str:
    unit = "" if variable.units == "1" else f" [{variable.units}]"
    return f"{variable.long_name} {variable.name}{unit}"


def _size(count: int) -> str:
    """Return a number of bytes for people."""
    value, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"


def _plain(key: str) -> str:
    """Return a key as words."""
    return key.replace("_", " ")
