# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finds parameters that change no solution, since a form most likely forgot them."""

from collections import UserDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ufl

from kryloset.errors import DataError
from kryloset.problems.base import Array
from kryloset.problems.checks.drawing import draw_example
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import Dirichlet, FiniteElementFamily


def find_forgotten(
    family: FiniteElementFamily,
    parameters: Mapping[str, Any],
    forms: Iterable[ufl.Form],
    boundary: Sequence[Dirichlet],
    *readers: Callable[[Any], Any],
) -> list[str]:
    """Return the parameters that no form or condition contains and the family does not read.

    Args:
        family: The family.
        parameters: The Functions and Constants of its parameters, by name.
        forms: The forms.
        boundary: The boundary conditions.
        readers: Methods of the family that read an instance, beside the forms.

    Raises:
        FamilyError: A reader raised an exception.
    """
    found = [item for form in forms for item in (*form.coefficients(), *form.constants())]
    found += [dirichlet.value for dirichlet in boundary]
    # By identity, since `==` of UFL makes an expression.
    numbers = {id(item) for item in found}
    left = [
        variable.name
        for variable in family.parameters
        if not (variable.fixed or variable.descriptive)
        and id(parameters.get(variable.name)) not in numbers
    ]
    read = _names_read(family, readers) if left else set()
    return [name for name in left if name not in read]


def _names_read(family: FiniteElementFamily, readers: Iterable[Callable[[Any], Any]]) -> set[str]:
    """Return the parameters that methods of the family read from an example."""
    instance = _Watched(draw_example(family))
    for reader in readers:
        try:
            with blamed(family, reader.__name__):
                reader(instance)
        except DataError:
            continue  # The example is refused because of something that was read.
    return instance.read


class _Watched(UserDict[str, Array]):
    """An instance that records which of its parameters are read."""

    def __init__(self, instance: Mapping[str, Array]) -> None:
        super().__init__(instance)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.read.add(name)
        values: Array = super().__getitem__(name)
        return values
