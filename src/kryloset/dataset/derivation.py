# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Derive again what a dataset file must say, from its configuration and family.

The writer makes a file in memory that has everything but the numbers of the instances. Whatever
differs in the stored file was not written by the writer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.dataset.failures import dump_failures, require_consecutive
from kryloset.dataset.integrity import SEALS
from kryloset.dataset.layout import LIBVER, TEXTS, grid_group, mask_key, recorded
from kryloset.dataset.ragged import offsets_path
from kryloset.dataset.reader import Dataset
from kryloset.dataset.structure import read_structure
from kryloset.dataset.writer import write_skeleton
from kryloset.errors import DataError
from kryloset.problems.base import Family

#: Relative error allowed in coordinates, whose last digit depends on the processor.
COORDINATE_ROUNDING = 1e-12
#: Stages whose code made a dataset.
_STAGES = ("merge", "solve", "sort")


def differences(
    data: Dataset,
    family: Family,
    reasons: Mapping[int, str],
    meshes: Mapping[str, NDArray[Any]],
    masks: Mapping[GridPoints | None, NDArray[np.int8]],
    resampled: Mapping[GridPoints, Mapping[str, NDArray[Any]]],
) -> list[str]:
    """Compare what a dataset says about itself with what it must say.

    Args:
        data: The dataset.
        family: Its family.
        reasons: The meanings of /solver/reason.
        meshes: What `Discretisation.meshes` returns.
        masks: What `Discretisation.masks` returns.
        resampled: Instance 0 on each further grid, by its points.

    Returns:
        A line for each group, array, attribute, type, shape, axis, coordinate, boundary value or
        text that is missing, new or different. The numbers of instances, splits, statistics and
        solve records are not compared.
    """
    stored = data.file
    grids = {
        f"{grid_group(points)}/{name}": values
        for points, arrays in resampled.items()
        for name, values in arrays.items()
    }
    shared = {
        mask_key("" if points is None else f"{grid_group(points)}/"): mask
        for points, mask in masks.items()
    }
    # The family does not prescribe what was solved, in which order, and by which programs.
    try:
        first = data.instance(0) | data.solution(0)
        rows = {
            v.name: int(stored[offsets_path(f"unknowns/{v.name}")][-1])
            for v in family.unknowns
            if v.ragged
        }
        solver = {name: stored[f"solver/{name}"][:] for name in recorded(data.config.storage)}
        strategies = stored["solver/way"].attrs["flag_meanings"].split()
        provenance = stored["provenance"]
        versions = dict(provenance["versions"].attrs)
        code = {stage: provenance["code"].attrs[stage] for stage in _STAGES}
        digest = provenance.attrs["parameters"]
        texts = {key: str(provenance[key].asstr()[()]) for key in TEXTS if key in provenance}
        failures = data.provenance().failures
        require_consecutive(failures, data.config.total)
        if failures:
            texts["failures"] = dump_failures(failures)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(f"a part of it is missing: {error}") from None
    if "kryloset" not in versions:
        raise DataError("/provenance/versions does not name the version of kryloset")
    with h5py.File("skeleton", "w", driver="core", backing_store=False, libver=LIBVER) as expected:
        write_skeleton(
            expected, data.name, data.config, family, first | grids, rows, solver, reasons, code,
            digest, meshes, shared, strategies, versions, texts,
        )  # fmt: skip
        return [
            *_structures(read_structure(stored), read_structure(expected, hollow=True)),
            *_values(stored, expected),
        ]


def _structures(stored: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    """Compare everything but the numbers in arrays."""
    stored.pop(SEALS, None)
    for tree in (stored, expected):
        for path, node in tree.items():
            # Statistics are numbers, too, stored as attributes.
            if path.startswith("statistics/"):
                node["attributes"] = {key: list(v) for key, v in node["attributes"].items()}
    for path in sorted(stored.keys() | expected.keys()):
        if path not in expected:
            yield f"{path} is new"
        elif path not in stored:
            yield f"{path} is missing"
        else:
            yield from _nodes(path, stored[path], expected[path])


def _nodes(path: str, stored: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    mine, right = stored.get("attributes", {}), expected.get("attributes", {})
    for name in sorted(mine.keys() | right.keys()):
        if mine.get(name) != right.get(name):
            yield f"{path}: {name} is {_shown(mine.get(name))}, not {_shown(right.get(name))}"
    for what in ("same as", "type", "shape", "axes", "axis of"):
        if stored.get(what) != expected.get(what):
            yield f"{path}: {what} {stored.get(what)}, not {expected.get(what)}"


def _shown(value: Any) -> str:
    """Return an attribute without its type, shortened."""
    plain = str(*value.values()) if isinstance(value, dict) else repr(value)
    text = "missing" if value is None else plain
    return text if len(text) <= 80 else f"{text[:77]}..."


def _values(stored: h5py.File, expected: h5py.File) -> Iterator[str]:
    """Compare coordinates, boundary conditions and texts."""
    derived: dict[str, h5py.Dataset] = {}

    def find(path: str, node: h5py.HLObject) -> None:
        elsewhere = path.startswith("splits/") or path.endswith(offsets_path(""))
        if isinstance(node, h5py.Dataset) and not elsewhere:
            texts = node.ndim == 0
            if texts or node.is_scale or path.startswith("boundary_conditions/"):
                derived[path] = node

    expected.visititems(find)
    for path, node in derived.items():
        if path not in stored or stored[path].shape != node.shape:
            continue  # `_structures` says so.
        mine, right = stored[path][()], node[()]
        if isinstance(right, bytes):
            same = mine == right
        else:
            scale = (
                COORDINATE_ROUNDING * float(np.abs(right).max(initial=0.0))
                if right.dtype.kind == "f"
                else 0
            )
            same = bool((np.abs(mine - right) <= scale).all())
        if not same:
            yield f"{path} has not the values that configuration and family give it"
