# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The report as a single HTML file that loads no other files."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup
from matplotlib.figure import Figure

from kryloset.compiler import cache_folder
from kryloset.dataset.failures import describe_failures
from kryloset.dataset.layout import place
from kryloset.dataset.origin import count_kept
from kryloset.report import figures, measured, pictures, wording
from kryloset.report.findings import Findings
from kryloset.report.gallery import gallery
from kryloset.report.numerals import scientific
from kryloset.report.predictions import describe_predictions, draw_predictions
from kryloset.report.theme import VARIABLES, encode, inline

#: Instances in the gallery.
SAMPLES = 5
#: Names of the parts of the work in the figure of seconds, in the order of the work.
PARTS = {
    "sort": "sort",
    "assemble": "assemble the systems",
    "setup": "set up preconditioners",
    "rebuild": "rebuild recycled subspaces",
    "iterate": "iterate",
}


@dataclass(frozen=True)
class Illustration:
    """A figure and its description.

    Attributes:
        name: Name of its file, without the suffix.
        figure: The drawing.
        description: What the figure shows, for screen readers.
    """

    name: str
    figure: Figure
    description: str

    @cached_property
    def svg(self) -> bytes:
        """The drawing as an SVG file."""
        return encode(self.figure, "svg")

    def inline(self) -> Markup:
        """Return the drawing as an element of the page."""
        return Markup(inline(self.svg, self.name, self.description))


def illustrate(findings: Findings) -> dict[str, Illustration]:
    """Draw the figures that the run has data for; return them by name."""
    drawings = [
        _samples(findings),
        _sort(findings),
        _iterations(findings),
        _refinement(findings),
        _seconds(findings),
        _comparison(findings),
        _training(findings),
        _rollout(findings),
        *_predictions(findings),
    ]
    return {drawing.name: drawing for drawing in drawings if drawing is not None}


def make_environment() -> Environment:
    """Return the renderer of this folder's templates, which escapes all text."""
    return Environment(
        loader=PackageLoader("kryloset.report", "."),
        bytecode_cache=_CompiledTemplates(),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


class _CompiledTemplates(FileSystemBytecodeCache):
    """Compiled templates, kept for the user if that is possible.

    To compile that of a page takes as long as to draw the maps on it. Jinja compiles a template
    again if its text has changed, but not if the options above have.
    """

    def __init__(self) -> None:
        super().__init__(str(cache_folder() / "templates"))

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        # The folder may not be writable, or the disk may be full.
        with suppress(OSError):
            Path(self.directory).mkdir(parents=True, exist_ok=True)
            super().dump_bytecode(bucket)


def render(findings: Findings, illustrations: Mapping[str, Illustration]) -> str:
    """Return the page as text."""
    environment = make_environment()
    environment.filters |= {"size": _size, "scientific": scientific, "ratio": _ratio}
    comparison, order, models = findings.comparison, findings.order, findings.models
    held_out = findings.config.held_out
    return environment.get_template("page.html.jinja").render(
        findings=findings,
        config=findings.config,
        family=findings.family,
        check=findings.check,
        comparison=comparison,
        comparison_sentences=comparison and wording.describe_comparison(comparison),
        order_sentence=order
        and wording.describe_order(order.method, order.steps.sum(), order.steps_given.sum()),
        provenance=findings.provenance,
        failures_sentence=describe_failures(findings.provenance.failures),
        kept=count_kept(findings.provenance.earlier),
        refinement_sentence=findings.refinement
        and wording.describe_refinement(findings.refinement, comparison and comparison["accuracy"]),
        models=models,
        held_out=held_out,
        training_sentences=models and wording.describe_training(models, held_out),
        measured=measured,
        details=[*measured.QUANTILES.values(), *measured.PARTS.values()],
        iterations=float(np.median(findings.solver["iterations"])),
        residual=float(findings.solver["true_residual"].max()),
        stored_residual=findings.solver.get("stored_residual", np.zeros(1)).max(),
        strategies=_strategies(findings),
        escalated=int((findings.solver["escalations"] > 0).sum()),
        seconds=findings.timings and sum(_parts(findings.timings).values()),
        pictures=illustrations,
        grid=" × ".join(str(len(axis)) for axis in findings.family.coordinates.values()),
        first_field=place(findings.family, findings.family.fields[0].name),
        colours=VARIABLES,
    )


def _strategies(findings: Findings) -> list[tuple[str, int, float]]:
    """Return name, instances and median iterations of each strategy, the most used first."""
    used, iterations = findings.solver["way"], findings.solver["iterations"]
    rows = []
    for number, name in findings.strategies.items():
        mine = used == number
        rows.append((name.replace("+", " + "), int(mine.sum()), float(np.median(iterations[mine]))))
    return sorted(rows, key=lambda row: -row[1])


def _samples(findings: Findings) -> Illustration | None:
    """Draw a few instances, evenly spaced in the solving order so that they differ."""
    family = findings.family
    variables = pictures.pictured(family)
    if not variables:
        return None
    count = len(findings.permutation)
    places = np.linspace(0, count - 1, min(SAMPLES, count))
    chosen = [int(findings.permutation[round(place)]) for place in places]
    instances = findings.numbers[chosen].tolist()
    rows = [
        row
        for v in variables
        for row in pictures.make_pictures(family, v, findings.values(v, chosen))
    ]
    plane = pictures.plane(family)
    figure = gallery(rows, [f"instance {number}" for number in instances], plane)
    kind = "Graphs" if len(plane) == 1 else "Maps"
    names = " and ".join(row.label for row in rows)
    shown = ", ".join(map(str, instances))
    blank = any(np.isnan(row.values).any() for row in rows)
    outside = " Points outside the domain are blank." if blank else ""
    description = f"{kind} of {names} of the instances {shown}.{outside}"
    return Illustration("samples", figure, description)


def _sort(findings: Findings) -> Illustration | None:
    order = findings.order
    if order is None or not order.steps.any():
        return None
    return Illustration(
        "sort",
        figures.neighbours(order.steps, order.steps_given),
        f"Distances between neighbours: {order.steps.mean():.3g} on average in solving order, "
        f"{order.steps_given.mean():.3g} as drawn.",
    )


def _iterations(findings: Findings) -> Illustration:
    order = findings.permutation
    counts = findings.solver["iterations"][order]
    helped = findings.solver["predecessor"][order] >= 0
    return Illustration(
        "iterations",
        figures.iterations(counts, helped, findings.bounds),
        f"Iterations of each instance along the solving order, between {counts.min()} and "
        f"{counts.max()}, with a median of {np.median(counts):g}.",
    )


def _refinement(findings: Findings) -> Illustration | None:
    distances = findings.refinement
    if not distances:
        return None
    told = ", ".join(
        f"{name} between {values.min():.2g} and {values.max():.2g}"
        for name, values in distances.items()
    )
    return Illustration(
        "refinement",
        figures.refinement(distances, findings.config.solver.tolerance),
        f"Distances of stored solutions to those on a refined mesh: {told}.",
    )


def _parts(timings: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of each part of the work, summed over the instances."""
    instances = timings["instances"]
    parts = {"sort": float(timings["sort"])}
    parts |= {part: float(np.sum(instances[part])) for part in PARTS if part in instances}
    return {PARTS[part]: seconds for part, seconds in parts.items()}


def _seconds(findings: Findings) -> Illustration | None:
    if findings.timings is None:
        return None
    parts = _parts(findings.timings)
    told = ", ".join(f"{part} {value:.3g} s" for part, value in parts.items())
    return Illustration("seconds", figures.seconds(parts), f"Seconds by part: {told}.")


def _comparison(findings: Findings) -> Illustration | None:
    if findings.comparison is None:
        return None
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
    if findings.models is None:
        return None
    histories = {label: model["history"][0] for label, model in findings.models["models"].items()}
    if len(histories) == 1:
        ((label, history),) = histories.items()
        curves = {f"{label}, {split}": history[split] for split in ("train", "valid")}
    else:
        curves = {label: history["valid"] for label, history in histories.items()}
    # An error that is not finite is null in the file, and NaN here.
    found = {name: np.asarray(values, np.float64) for name, values in curves.items()}
    told = ", ".join(f"{name} {values[-1]:.3g}" for name, values in found.items())
    turn = measured.name_turn(findings.models)
    return Illustration(
        "training",
        figures.training(found, turn),
        f"Relative L2 error by {turn}; after the last {turn}: {told}.",
    )


def _rollout(findings: Findings) -> Illustration | None:
    found = measured.rollouts(findings.models, findings.config.held_out) if findings.models else {}
    if not found:
        return None
    first = next(iter(found.values()))
    field, described = next(iter(first["fields"].items()))
    known = first["errors"]["relative_l2"]
    spectra = {name: of["fields"][field]["spectrum"]["predicted"] for name, of in found.items()}
    errors = {name: of["errors"]["relative_l2"] for name, of in found.items()}
    # None, of a prediction that grows without bounds, is NaN.
    numbers = ({k: np.array(v, np.float64) for k, v in of.items()} for of in (errors, spectra))
    along, energies = numbers
    truth = {"truth": np.array(described["spectrum"]["true"], np.float64)}
    told = ", ".join(
        f"{name} {'–' if values[-1] is None else f'{values[-1]:.3g}'}"
        for name, values in errors.items()
    )
    return Illustration(
        "rollout",
        figures.rollout(np.asarray(first["times"])[: len(known)], along, field, energies | truth),
        f"Relative L2 error along trajectories, and the energy of {field} in their second half by "
        f"number of waves; error at the end: {told}.",
    )


def _predictions(findings: Findings) -> Iterator[Illustration]:
    for found in findings.predictions:
        name = f"predictions-{found.label}"
        yield Illustration(name, draw_predictions(found), describe_predictions(found))


def _size(count: int) -> str:
    """Return a number of bytes with a unit."""
    value, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
