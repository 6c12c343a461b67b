# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Describe a dataset file to people."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import count_points
from kryloset.dataset.failures import describe_failures
from kryloset.dataset.layout import SOLUTIONS, grid_group
from kryloset.dataset.opening import describable, open_hdf5, require_readable
from kryloset.dataset.reader import Dataset


def read_config_text(path: Path) -> str:
    """Return the YAML text of the configuration that reproduces a dataset file.

    Raises:
        DataError: As `Dataset`, or `Dataset.require_unchanged_texts`.
    """
    with Dataset(path) as dataset:
        dataset.require_unchanged_texts()
        return dataset.config_text


def describe(path: Path) -> str:
    """Return a summary of a dataset file, or of the file of a sequence, for people, as plain text.

    Raises:
        DataError: As `Dataset`, or `Dataset.require_unchanged_texts`.
    """
    require_readable(path)
    with open_hdf5(path) as file, describable(path):
        if file.attrs.get("title") == SOLUTIONS:
            return _describe_solutions(path, file)
    with Dataset(path) as dataset, describable(path):
        dataset.require_unchanged_texts()
        title, equation = read_title(dataset)
        parts = [
            f"{path}: {title}, dataset {dataset.name!r}\n  {equation}",
            _counts(dataset),
            _table("Parameters", [_variable(dataset, name) for name in dataset.parameters]),
            _table(
                "Solution", [_variable(dataset, n) for n in (*dataset.fields, *dataset.unknowns)]
            ),
            _table("Solver", _solver(dataset)),
            _table("Made with", _provenance(dataset)),
            f"Open it:\n"
            f"  import xarray\n"
            f'  tree = xarray.open_datatree("{path}", engine="h5netcdf")\n'
            f'  tree["t0_fields"].isel(sample=0)',
            f"Make it again:\n"
            f"  kryloset restore {shlex.quote(str(path))} again\n"
            f"and run the command that it prints",
        ]
    return "\n\n".join(parts) + "\n"


def _describe_solutions(path: Path, file: h5py.File) -> str:
    """Return a summary of a file that `kryloset solve-sequence` wrote."""
    attributes, (systems, unknowns) = file.attrs, file["solution"].shape
    residual, iterations = file["true_residual"][:], file["iterations"][:]
    failures = np.count_nonzero(np.isnan(file["solution"][:, 0]))
    ways = file["way"].attrs["flag_meanings"].split()
    counts = np.bincount(file["way"][:], minlength=len(ways))
    used = ", ".join(f"{way} {count}" for way, count in zip(ways, counts, strict=True))
    rows = [
        ("method", f"{attributes['ksp']}, tolerance {attributes['rtol']:.3g}"),
        ("strategies", f"{used} systems"),
        ("true residual", f"at most {residual.max():.3g}"),
        ("iterations", f"{iterations.sum()} in all, {iterations.mean():.1f} a system"),
        ("failures", f"{failures}, whose solutions are NaN" if failures else "none"),
    ]
    versions = f"{attributes['source']}, PETSc {attributes['petsc_version']}"
    parts = [
        f"{path}: {SOLUTIONS}\n{systems} systems of {unknowns} unknowns",
        _table("Solver", rows),
        _table("Made with", [("versions", versions), ("processes", str(attributes["processes"]))]),
        f"Open it:\n"
        f"  import xarray\n"
        f'  xarray.open_dataset("{path}", engine="h5netcdf")["solution"].isel(system=0)',
    ]
    return "\n\n".join(parts) + "\n"


def _counts(dataset: Dataset) -> str:
    splits = ", ".join(f"{name} {len(indices)}" for name, indices in dataset.splits().items())
    lines = [f"{len(dataset)} instances on a grid of {' x '.join(map(str, dataset.grid))} points"]
    if dataset.times is not None:
        begin, end = dataset.times[[0, -1]]
        lines.append(f"States at {len(dataset.times)} times from {begin:g} to {end:g}")
    lines += _domain(dataset)
    grids = dataset.config.mesh.grids
    lines += [f"On a further grid of {count_points(n)}: /{grid_group(n)}" for n in grids]
    if meshes := dataset.meshes():
        lines.append(f"On the mesh of all instances, /mesh: {', '.join(meshes)}")
    return "\n".join([*lines, f"Splits: {splits}"])


def _domain(dataset: Dataset) -> list[str]:
    """Return a line about points outside of the domain, where there are any."""
    several = {"shared": 1, "own": len(dataset)}
    masks = map(dataset.inside, range(several.get(dataset.masked or "", 0)))
    counts = [int(mask.sum()) for mask in masks if mask is not None]
    if not counts:
        return []
    few, many = min(counts), max(counts)
    told = f"{few}" if few == many else f"Between {few} and {many}"
    return [f"{told} of these points lie in the domain (`inside`); fields are NaN at the others"]


def read_title(dataset: Dataset) -> tuple[str, str]:
    """Return the title of a dataset and its equation."""
    attributes = dataset.file.attrs
    return str(attributes["title"]), str(attributes["equation"])


def read_quantity(dataset: Dataset, name: str) -> tuple[str, str]:
    """Return what a variable is, in words, and its unit."""
    attributes = dataset.array(name).attrs
    return str(attributes["long_name"]), str(attributes["units"])


def _variable(dataset: Dataset, name: str) -> Sequence[str]:
    array = dataset.array(name)
    axes = ", ".join(
        f"{dim.label or dim.keys()[0]} {size}"
        for dim, size in zip(array.dims, array.shape, strict=True)
    )
    quantity, unit = read_quantity(dataset, name)
    return (
        name,
        f"{quantity}{'' if unit == '1' else f' [{unit}]'}",
        f"({axes}) {array.dtype}",
        "" if name in dataset.unknowns else _range(dataset.statistics(name)),
    )


def _range(statistics: dict[str, float]) -> str:
    return (
        f"mean {statistics['mean']:.4g}, std {statistics['std']:.4g}, "
        f"{statistics['min']:.4g} to {statistics['max']:.4g} (train)"
    )


def _solver(dataset: Dataset) -> list[Sequence[str]]:
    solver, settings = dataset.solver(), dataset.config.solver
    iterations, residual = solver["iterations"], solver["true_residual"]
    recycled = int((solver["predecessor"] >= 0).sum())
    return [
        ("method", f"{settings.method}, preconditioner {settings.preconditioner}"),
        ("true residual", f"at most {residual.max():.3g}, tolerance {settings.tolerance:.3g}"),
        *(
            ("in float32", f"at most {solver[name].max():.3g}, as stored")
            for name in ("stored_residual",)
            if name in solver
        ),
        ("iterations", f"{iterations.sum()} in all, {iterations.mean():.1f} an instance"),
        ("recycled", f"{recycled} of {len(dataset)} instances, from the one solved before"),
        ("escalations", f"{solver['escalations'].sum()}"),
        *((f"refined, {name}", _spread(d)) for name, d in dataset.refinement().items()),
    ]


def _spread(distances: NDArray[np.float64]) -> str:
    """Say how far stored solutions are from those on a refined mesh."""
    return (
        f"relative L2 distance {np.median(distances):.2g} (median of {len(distances)}), at most "
        f"{distances.max():.2g}, to the solution with every edge halved"
    )


def _provenance(dataset: Dataset) -> Sequence[Sequence[str]]:
    provenance, given, first = dataset.provenance(), dataset.config.instances, 0
    rows = [("seed", str(dataset.config.seed))]
    if given.file:
        read = f"{', '.join(given.names)} from {given.file}, SHA-256 {given.sha256}"
        rows.append(("instances", read))
    rows.append(("versions", _versions(provenance.versions)))
    rows += dataset.about.items()
    for run in provenance.earlier:
        told = f"instances {first} to {run.instances - 1} by {_versions(run.versions)}"
        rows.append(("kept", told))
        first = run.instances
    for split, shift in dataset.config.ood.items():
        settings = ", ".join(f"{key} {value}" for key, value in shift.parameters.items())
        rows.append((f"split {split}", f"drawn with {settings}"))
    if provenance.failures:
        rows.append(("failures", describe_failures(provenance.failures)))
    return rows


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{program} {version}" for program, version in versions.items())


def _table(title: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return a titled list with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return f"{title}:\n" + "\n".join(f"  {line}" for line in lines)
