# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset try`: one instance of a family, drawn, solved and checked before any run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.fem.discretise import discretise
from kryloset.krylov import Automatic
from kryloset.library.families import ConfiguredFamily, family
from kryloset.library.traits import Trait, assemble, check_traits
from kryloset.problems import Discretisation, Family, Instance
from kryloset.problems.checks.coverage import INSIDE, blank, respects
from kryloset.problems.checks.periodic import describe_equation
from kryloset.run.draw import draw_instances
from kryloset.run.solve import stored_fields
from kryloset.run.solve_record import SolveRecord, solve_in_order
from kryloset.run.solver import make_solver
from kryloset.yaml_text import parse_yaml

#: How much larger a residual may be after a fresh assembly, which rounds in another order.
ROUNDED = 1.1

#: How much larger the step of a parameter may be where an axis closes than between other points.
JUMP = 3.0


@dataclass(frozen=True)
class Trial:
    """What was found of one instance.

    Attributes:
        family: The family.
        config: Its seed, grid and tolerance.
        instance: The parameters.
        solution: Fields and unknowns.
        inside: Which points of the grid lie in the domain, (*grid); None if all do.
        record: What the solve took.
        residual: ||b - A x|| / ||b|| from a fresh assembly.
        traits: What is declared about the operator, and what holds.
    """

    family: ConfiguredFamily
    config: DatasetConfig
    instance: Instance
    solution: dict[str, NDArray[Any]]
    inside: NDArray[np.bool_] | None
    record: SolveRecord
    residual: float
    traits: list[Trait]

    @property
    def faults(self) -> list[str]:
        """What has to be corrected before a run; empty if all is well."""
        found = [f"{trait.name} {trait.advice}" for trait in self.traits if trait.wrong]
        tolerance = self.config.solver.tolerance
        if not self.residual <= ROUNDED * tolerance:
            found.append(
                f"the residual from a fresh assembly is {self.residual:.2e}, above the tolerance "
                f"{tolerance:g}: the operator is not what the family declares"
            )
        for variable in self.family.problem.fields:
            values = self.solution[variable.name]
            if self.inside is None:
                right = bool(np.isfinite(values).all())
            else:
                right = respects(values, self.inside, variable.rank)
            if not right:
                found.append(f"{variable.name} has values that are not finite in the domain")
        return found + _jumps(self.family.problem, self.instance)


def _jumps(problem: Family, instance: Instance) -> list[str]:
    """Return which parameters jump where a periodic axis closes, and nowhere else."""
    found = []
    for variable in problem.parameters:
        values = np.asarray(instance[variable.name])
        for place, axis in enumerate(variable.axes):
            if axis not in problem.mesh.periodic:
                continue
            inside = abs(np.diff(values, axis=place)).max()
            across = abs(values.take(0, place) - values.take(-1, place)).max()
            if across > JUMP * inside:
                found.append(
                    f"{variable.name} jumps by {across:.2g} where the periodic axis {axis} closes, "
                    f"and by at most {inside:.2g} between other points: draw it periodic, as a "
                    "GaussianField with the boundary `periodic` is"
                )
    return found


def read_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read settings as the command line gives them.

    Args:
        words: Each as in "modes=8", with a value as in a configuration.

    Raises:
        ConfigError: A word has no "=", or its value is not YAML.
    """
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"setting {word!r} has no value: write it as KEY=VALUE")
        settings[key] = parse_yaml(value, f"setting {key}")
    return settings


def run(name: str, settings: Mapping[str, Any], seed: int = 0) -> Trial:
    """Draw and solve an instance of a family, and check what it declares.

    Args:
        name: The family: a name, or `path/to/file.py:Class`.
        settings: Of the family and of the grid.
        seed: Seed of the instances; 0 and 1 are drawn.

    Raises:
        KrylosetError: The family has a mistake, or the instance cannot be solved; the message
            names the method and what to correct.
    """
    chosen = family(name, **settings)
    problem = chosen.problem
    config = chosen.configuration(count=1, seed=seed)
    tolerance = config.solver.tolerance
    instance, other = draw_instances(problem, seed, 2)
    discretisation = discretise(problem, MPI.COMM_SELF)
    systems = []
    for number, parameters in enumerate((instance, other)):
        try:
            systems.append(assemble(problem, discretisation, parameters, tolerance))
        except KrylosetError as error:
            raise type(error)(f"instance {number}: {error}") from error
    if not all(systems):
        raise DataError(
            f"family {name}: its discretisation solved instances without the solver that it was "
            "given: call `solve(A, b)`"
        )
    traits = check_traits(problem, systems[0], systems[1])
    return _solve(chosen, config, discretisation, instance, traits)


def _solve(
    chosen: ConfiguredFamily,
    config: DatasetConfig,
    discretisation: Discretisation,
    instance: Instance,
    traits: list[Trait],
) -> Trial:
    problem = chosen.problem
    # A wrong declaration would mislead the choice of the solver.
    misled = any(trait.wrong for trait in traits)
    solver = Automatic(config.solver.tolerance) if misled else make_solver(config.solver, problem)
    ((solution, record),) = solve_in_order(discretisation, solver, [(0, instance)])
    stored_fields(config, problem, discretisation, instance, solution, check=True)
    inside = solution.get(INSIDE.name, discretisation.masks().get(None))
    residual = discretisation.residual(instance, solution)
    return Trial(
        chosen, config, instance, solution, None if inside is None else inside.astype(np.bool_),
        record, residual, traits,
    )  # fmt: skip


def describe(trial: Trial) -> str:
    """Return what was found, in a short table."""
    problem, record = trial.family.problem, trial.record
    grid = " x ".join(str(len(line)) for line in problem.coordinates.values())
    rows = [("draws", v.name, _range(trial.instance[v.name])) for v in problem.parameters]
    rows += [("solves for", v.name, _range(trial.solution[v.name])) for v in problem.fields]
    seconds = record.seconds + record.seconds_assemble
    lines = [
        f"{trial.family.name}, instance 0 of seed {trial.config.seed}, {grid} points",
        f"  {describe_equation(problem)}",
        "",
        *_table(rows),
        f"  {'domain':10}  {_domain(trial.inside, problem)}",
        f"  {'solver':10}  {record.label}: {record.iterations} iterations in {record.systems} "
        f"systems, {seconds:.2g} s",
        f"  {'residual':10}  {record.true_residual:.1e}, {trial.residual:.1e} from a fresh "
        f"assembly, tolerance {trial.config.solver.tolerance:g}",
        "",
        *_table([
            ("operator", "declared", "found", ""),
            *(
                (t.name, _yes(t.declared), _yes(t.found), "" if t.wrong else t.advice)
                for t in trial.traits
            ),
        ]),
        "",
        *(f"Mend: {fault}" for fault in trial.faults),
    ]  # fmt: skip
    return "\n".join(lines if trial.faults else [*lines, "Everything fits."])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(10, *map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _range(values: NDArray[Any]) -> str:
    low, high, shape = np.nanmin(values), np.nanmax(values), np.shape(values)
    if not shape:
        return f"{low:.4g}"
    return f"{low:.4g} to {high:.4g}, shape {shape}"


def _domain(inside: NDArray[np.bool_] | None, problem: Family) -> str:
    if inside is None:
        return "all points of the grid"
    return f"{inside.sum()} of {inside.size} points of the grid; fields are NaN at the others"


def draw_picture(trial: Trial, path: Path) -> bool:
    """Draw parameters and solution of the instance.

    Args:
        trial: What was found.
        path: The file to write; its suffix determines the format.

    Returns:
        Whether there was anything on the grid to draw; no file is written otherwise.

    Raises:
        DataError: The file cannot be written.
    """
    from kryloset.report.gallery import gallery
    from kryloset.report.pictures import make_pictures, pictured, plane

    problem = trial.family.problem
    rows = []
    for variable in pictured(problem):
        values = np.asarray({**trial.instance, **trial.solution}[variable.name])
        if trial.inside is not None:
            values = blank(values, trial.inside, variable.rank)
        rows += make_pictures(problem, variable, values[np.newaxis])
    if not rows:
        return False
    try:
        gallery(rows, ["instance 0"], plane(problem)).savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be written: {error}") from None
    return True
