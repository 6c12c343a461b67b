# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Coefficients of a form in the order in which DOLFINx assembles it, gathered by a table.

DOLFINx finds the degrees of freedom of each cell anew whenever it packs coefficients, which takes
a third of the time of assembling a vector. Where they are does not change.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

#: Sizes of blocks that are tried.
_BLOCKS = (4, 3, 2, 1)

type Packed = Mapping[Any, NDArray[Any]]


class Packing:
    """Packs the coefficients of a form as `dolfinx.fem.pack_coefficients`, bit for bit. Serial."""

    def __init__(self, form: fem.Form) -> None:
        """Learn from DOLFINx where each packed number comes from.

        It packs numbered degrees of freedom, then other values, which the table must give too.
        Otherwise, as for elements whose degrees of freedom have signs, DOLFINx goes on packing.

        Args:
            form: The form. The values of its coefficients may change later, but not their lengths.
        """
        self._form = form
        self._arrays = [function.x.array for function in form._cpp_object.coefficients]
        # Numbers of blocks of neighbours, which are gathered together.
        self._tables: dict[Any, NDArray[np.int64]] | None = None
        self._block = 1
        self._packed: Packed = {}
        kept = [array.copy() for array in self._arrays]
        try:
            self._set(np.arange)
            tables = {
                key: np.rint(np.real(packed)).astype(np.int64)
                for key, packed in fem.pack_coefficients(form).items()
            }
            generator = np.random.default_rng(0)
            self._set(lambda begin, end: generator.standard_normal(end - begin))
            expected = fem.pack_coefficients(form)
            if all(_gives(table, self._values(), expected[key]) for key, table in tables.items()):
                self._block = _common_block(tables.values(), len(self._values()))
                self._tables = {
                    key: np.ascontiguousarray(table.ravel()[:: self._block] // self._block)
                    for key, table in tables.items()
                }
                self._packed = expected
        finally:
            for array, values in zip(self._arrays, kept, strict=True):
                array[:] = values

    def __call__(self) -> Packed:
        """Return the present values of the coefficients, an array for each integral.

        The next call overwrites them.
        """
        if self._tables is None:
            packed: Packed = fem.pack_coefficients(self._form)
            return packed
        values: NDArray[Any] = self._values().reshape(-1, self._block)
        for key, table in self._tables.items():
            # The mode says that no index is out of range, and so that no copy is needed.
            blocks = self._packed[key].reshape(-1, self._block)
            np.take(values, table, axis=0, out=blocks, mode="clip")
        return self._packed

    def _set(self, make: Any) -> None:
        """Set all coefficients from the numbers of their degrees of freedom, [begin, end)."""
        begin = 0
        for array in self._arrays:
            array[:] = make(begin, begin + len(array))
            begin += len(array)

    def _values(self) -> NDArray[Any]:
        """Return the degrees of freedom of all coefficients, one after another."""
        if not self._arrays:
            return np.zeros(0)
        return np.concatenate(self._arrays)


def _gives(table: NDArray[np.int64], values: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether a table gives what DOLFINx packed."""
    if table.size and not (table.min() >= 0 and table.max() < len(values)):
        return False
    return np.array_equal(values.take(table, mode="clip"), expected)


def _common_block(tables: Collection[NDArray[np.int64]], count: int) -> int:
    """Return how many of `count` numbers are always packed together, as components are."""
    return next(
        size
        for size in _BLOCKS
        if count % size == 0 and all(_in_blocks(table, size) for table in tables)
    )


def _in_blocks(table: NDArray[np.int64], size: int) -> bool:
    """Return whether a table has neighbours in blocks of a size, each from a multiple of it on."""
    if table.size % size:
        return False
    blocks = table.reshape(-1, size)
    first = blocks[:, :1]
    return not (first % size).any() and np.array_equal(blocks, first + np.arange(size))
