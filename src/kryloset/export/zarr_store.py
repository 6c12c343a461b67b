# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Stores of Zarr, format 3, that xarray opens as a tree."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors

from kryloset.export.selection import Selection
from kryloset.export.tree import Tree


class Zarr(Tree):
    """A folder for `xarray.open_datatree(engine="zarr")`, a chunk an instance."""

    def write(self, selection: Selection, path: Path) -> None:
        """Write the store, with the metadata of all groups in one place, where xarray looks."""
        self._root = zarr.open_group(path, mode="w", zarr_format=3)
        self.copy(selection)
        with warnings.catch_warnings():
            # The specification of Zarr 3 does not have it yet; readers that do not know it read on.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            zarr.consolidate_metadata(path)

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Make a group with attributes in JSON."""
        self._root.require_group(path).update_attributes(_json(attributes))

    def text(self, path: str, text: str) -> None:
        """Write a text as an attribute of its group."""
        group, _, name = path.rpartition("/")
        self._root[group].update_attributes({name: text})

    def array(
        self,
        path: str,
        axes: Sequence[str],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        attributes: Mapping[str, Any],
    ) -> Any:
        """Make an array; NaN needs no mark in Zarr."""
        rows = 1 if len(shape) > 1 and axes[0] == "sample" else shape[0]
        return self._root.create_array(
            path,
            shape=tuple(shape),
            dtype=dtype,
            chunks=(max(1, rows), *shape[1:]),
            dimension_names=list(axes),
            attributes=_json({k: v for k, v in attributes.items() if k != "_FillValue"}),
        )


def _json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in attributes.items()
    }
