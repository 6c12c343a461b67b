# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The matrices of a group, in one sparsity pattern."""

from collections.abc import Sequence

import dolfinx.fem.petsc
import numpy as np
import scipy
import ufl
from dolfinx import fem
from numpy.typing import NDArray
from ufl.corealg.traversal import unique_pre_traversal

from kryloset.fem.group.entities import Indices
from kryloset.fem.group.form import GroupIntegral, make_form
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.krylov.ensemble.pattern import Pattern

ROUNDING = 1e-13
"""Entries that are smaller than this part of the largest in their row and column are zero."""


class GroupMatrix:
    """A bilinear form of a group, with the identity in prescribed rows and columns.

    Its entries equal those of `dolfinx.fem.petsc.assemble_matrix` up to rounding. If the form has
    no kernels with lanes, DOLFINx assembles one matrix after another.

    Attributes:
        pattern: Of the matrix that DOLFINx assembles, until `leave_out_zeros`.
    """

    def __init__(
        self,
        form: ufl.Form,
        values: GroupValues,
        conditions: Sequence[fem.DirichletBC],
        pattern: Pattern,
    ) -> None:
        """Find the position of each entry of each element tensor.

        Args:
            form: A bilinear form of one space.
            values: Those of the coefficients that change.
            conditions: Dirichlet conditions. Only their degrees of freedom matter.
            pattern: Of the matrix that DOLFINx assembles.
        """
        self.pattern = pattern
        self._ufl, self._compiled, self._values = form, fem.form(form), values
        self._conditions = list(conditions)
        self._form = make_form(form, self._compiled, values)
        prescribed = np.zeros(pattern.rows, np.bool_)
        for condition in conditions:
            prescribed[condition.dof_indices()[0]] = True
        self._ones = pattern.diagonal[prescribed]
        self._adding: list[tuple[GroupIntegral, Indices]] = []
        self._lifting: list[GroupIntegral] = []
        if self._form is None:
            return
        for entities in self._form.entities:
            integral = GroupIntegral(self._form, entities)
            _, columns = integral.dofs
            self._adding.append((integral, integral.find(pattern, prescribed)))
            touching = prescribed[columns].any(axis=1)
            if touching.any():
                self._lifting.append(GroupIntegral(self._form, entities.where(touching)))

    def leave_out_zeros(self) -> None:
        """Take the entries out of the pattern that are zero for all values of the coefficients.

        On triangles with right angles, these are the couplings along the longest sides: of seven
        entries in a row of a Laplacian five remain, and of fifteen on such tetrahedra seven. The
        couplings of prescribed unknowns go, too. The pattern stays symmetric, and the diagonal.

        An entry that is an analytic function of the coefficients is zero for random values with
        probability 0, unless it is for all (B. Mityagin, Math. Notes 107, 2020). So nothing is
        taken out of a form with a choice, an absolute value or a maximum, nor if the random values
        are none that it admits.
        """
        if self._form is None or not _is_analytic(self._ufl):
            return
        values, generator = self._values, np.random.default_rng(0)
        held = [values[coefficient].copy() for coefficient in values.changing]
        for coefficient in values.changing:
            values[coefficient][:] = generator.uniform(1, 2, values[coefficient].shape)
        entries = np.empty((self.pattern.size, values.lanes))
        self.update(entries)
        for coefficient, numbers in zip(values.changing, held, strict=True):
            values[coefficient][:] = numbers
        # The quickest way to one number for all lanes.
        sizes = np.sqrt(np.einsum("il,il->i", entries, entries))
        if not np.isfinite(sizes).all():
            return
        kept = _nonzero(self.pattern, sizes)
        # A place of -1 is that of no entry, before and after.
        places = np.full(len(kept) + 1, -1, np.int32)
        places[np.flatnonzero(kept)] = np.arange(kept.sum())
        self._adding = [(integral, places[positions]) for integral, positions in self._adding]
        self._ones = places[self._ones]
        counts = np.add.reduceat(kept, self.pattern.offsets[:-1], dtype=np.int32)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        self.pattern = Pattern(offsets.astype(np.int32), self.pattern.columns[kept])

    def update(self, entries: Numbers) -> None:
        """Set the entries of all matrices, (nnz, lanes), from the present values."""
        if self._form is None:
            for lane in range(self._values.lanes):
                entries[:, lane] = self._assemble_one(lane, self._conditions)
            return
        entries[:] = 0
        self._form.read_constants()
        for integral, positions in self._adding:
            integral.add(positions, entries)
        entries[self._ones] = 1

    def lift(self, prescribed: Numbers, b: Numbers) -> None:
        """Subtract the product with prescribed values from right-hand sides.

        The matrices are those before conditions. Rows that are prescribed are left undefined.

        Args:
            prescribed: (n, lanes), zero where nothing is prescribed.
            b: (n, lanes).
        """
        if self._form is None:
            for lane in range(self._values.lanes):
                b[:, lane] -= self._to_csr(self._assemble_one(lane, [])) @ prescribed[:, lane]
            return
        self._form.read_constants()
        for integral in self._lifting:
            integral.subtract_products(prescribed, b)

    def _assemble_one(self, lane: int, conditions: list[fem.DirichletBC]) -> Numbers:
        """Return the entries of the matrix of a lane, as DOLFINx assembles it."""
        self._values.give(lane)
        matrix = dolfinx.fem.petsc.assemble_matrix(self._compiled, bcs=conditions)
        matrix.assemble()
        entries = matrix.getValuesCSR()[2].copy()
        matrix.destroy()
        return np.asarray(entries)

    def _to_csr(self, entries: Numbers) -> "scipy.sparse.csr_array":
        size = self.pattern.rows
        return scipy.sparse.csr_array(
            (entries, self.pattern.columns, self.pattern.offsets), (size, size)
        )


def _is_analytic(form: ufl.Form) -> bool:
    """Return whether a form has none of the functions that are not analytic."""
    pieces = (
        ufl.classes.Conditional,
        ufl.classes.Abs,
        ufl.classes.MinValue,
        ufl.classes.MaxValue,
    )
    nodes = (
        node for integral in form.integrals() for node in unique_pre_traversal(integral.integrand())
    )
    return not any(isinstance(node, pieces) for node in nodes)


def _nonzero(pattern: Pattern, sizes: Numbers) -> NDArray[np.bool_]:
    """Return which entries are larger than rounding errors, or on the diagonal, or opposite such.

    Args:
        pattern: With an entry in each row.
        sizes: (nnz), norms over the lanes.
    """
    rows = np.repeat(np.arange(pattern.rows), np.diff(pattern.offsets))
    most = np.maximum.reduceat(sizes, pattern.offsets[:-1])
    kept = sizes > ROUNDING * np.minimum(most[rows], most[pattern.columns])
    kept |= rows == pattern.columns
    # The pattern is symmetric, so that each entry has an opposite one.
    return np.asarray(kept | kept[pattern.find(pattern.columns, rows)])
