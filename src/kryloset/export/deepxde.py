# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Archives of arrays as the DeepONet examples of DeepXDE read them."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.export.base import Format
from kryloset.export.selection import GridView, Selection


class DeepXDE(Format):
    """`<name>_<split>.npz` with `X_<split>0`, `X_<split>1` and `y_<split>`.

    They are the branch input (instance, all parameters in one row), the trunk input (point,
    coordinate; in a trajectory the time first) and the solution (instance, point[, component]), for
    `deepxde.data.TripleCartesianProd`: all instances have the same points. Points outside of
    a domain that all share are left out.
    """

    def write(self, selection: Selection, path: Path) -> None:
        """Write an archive for each split."""
        view = selection.view
        if selection.dataset.masked == "own":
            raise DataError(
                f"{selection.dataset.file.filename}: each instance has a domain of its own, and "
                "DeepXDE's products need the same points for all: export to neuraloperator, whose "
                "inputs have a mask"
            )
        inside = view.inside(0)
        trunk = _points(view, inside)
        for split, instances in selection.splits.items():
            rows = instances.tolist()
            arrays: list[tuple[str, Iterator[NDArray[Any]]]] = [
                (f"X_{split}0", (_branch(view, row) for row in rows)),
                (f"X_{split}1", iter(trunk)),
                (f"y_{split}", (_solution(view, row, inside) for row in rows)),
            ]
            lengths = (len(rows), len(trunk), len(rows))
            with zipfile.ZipFile(path / f"{selection.dataset.name}_{split}.npz", "w") as archive:
                for (name, parts), length in zip(arrays, lengths, strict=True):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        _write_rows(member, parts, length, selection.dtype)


def _write_rows(
    member: IO[bytes], rows: Iterable[NDArray[Any]], length: int, dtype: np.dtype[Any]
) -> None:
    """Write an array in NumPy's format, a row at a time."""
    for number, row in enumerate(rows):
        values = np.ascontiguousarray(row, dtype)
        if not number:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (length, *values.shape)}
            np.lib.format.write_array_header_1_0(member, header)
        member.write(values.tobytes())


def _points(view: GridView, inside: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return the coordinates of all points, (points, axes), in a trajectory with the time first."""
    lines = list(view.coordinates.values())
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    points = points.reshape(-1, len(lines)) if inside is None else points[inside]
    times = view.dataset.times
    if times is None:
        return points
    return np.hstack([np.repeat(times, len(points))[:, None], np.tile(points, (len(times), 1))])


def _branch(view: GridView, instance: int) -> NDArray[Any]:
    """Return all parameters of an instance in one row."""
    return np.concatenate([np.ravel(values) for values in view.given(instance).values()])


def _solution(view: GridView, instance: int, inside: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return the solution of an instance at all points, (points,) or (points, components)."""
    channels = view.channels(view.fields, instance)
    if inside is not None:
        channels = [values[..., inside] for values in channels]
    flat = np.stack([np.ravel(values) for values in channels], axis=-1)
    return flat[:, 0] if flat.shape[1] == 1 else flat
