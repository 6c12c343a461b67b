# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Declarations of a family that no file can hold are refused before any work."""

from typing import Any

import numpy as np
import pytest

from kryloset.config import MeshConfig, Section
from kryloset.errors import FamilyError
from kryloset.problems import BoundaryCondition, Family, OperatorTraits, Variable
from kryloset.problems.checks.declarations import check_class, check_declarations

K, U = Variable("k", "k"), Variable("u", "u")


class Own(Family):
    """A family with valid declarations."""

    summary = "Own"
    equation = "u = k"
    parameters: Any = (K,)
    fields: Any = (U,)
    boundary_conditions: Any = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "u = 0"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "u = 0"),
    )

    @property
    def coordinates(self) -> Any:
        """Return a grid of 3 x 3."""
        return {"x": np.arange(3), "y": np.arange(3)}

    draw = discretise = lambda *_: None  # type: ignore[assignment]


def declare(**attributes: Any) -> None:
    kind = type("Own", (Own,), {"__module__": __name__, **attributes})
    check_class(kind, "own.py:Own")
    check_declarations(kind(Section(), MeshConfig(points=3)), "own.py:Own")


def test_valid_declarations_pass() -> None:
    declare()
    declare(parameters=[K], times=np.array([0.0, 0.1]))


def condition(**changes: Any) -> Any:
    words = {"dimension": "x", "kind": "wall", "fields": ("u",), "value": 0.0, "description": "w"}
    return (BoundaryCondition(**(words | changes)),)


def traits(**claims: Any) -> OperatorTraits:
    return OperatorTraits(**claims)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"summary": 3}, "`summary` must be a text"),
        ({"dimensions": 2}, r"`dimensions` are 2 .* as in `dimensions = \(2, 3\)`"),
        ({"dimensions": (4,)}, r"`dimensions` are \(4,\)"),
        ({"Settings": {"length": 0.1}}, "`Settings` must be a class that derives from"),
        ({"Settings": Section()}, "`Settings` must be a class that derives from"),
        ({"__init__": lambda self: None}, "`__init__`: too many .* write `def __init__"),
        ({"parameters": K}, "`parameters` must be a tuple of Variables.* with a comma"),
        ({"fields": ("u",)}, "`fields` must be a tuple of Variables"),
        ({"parameters": ()}, "needs at least one parameter and one field"),
        ({"operator": "symmetric"}, "`operator` must be an OperatorTraits"),
        ({"operator": OperatorTraits}, "`operator` must be an OperatorTraits"),
        # PETSc crashed on it.
        ({"discretise": Family.discretise}, "lacks discretise"),
        (
            {"discretise": Family.discretise, "discretisation": "kryloset.fem.steady"},
            "`discretisation` is 'kryloset.fem.steady' and must name a class as 'module:Class'",
        ),
        ({"operator": traits(nullspace="rotations")}, "nullspace .* 'rotations': take 'none' or"),
        ({"operator": traits(symmetric="no")}, "symmetric .* 'no': take False or True"),
        ({"unknowns": (Variable("z", "z"),)}, "'z' of `unknowns` has no dimensions"),
        ({"fields": (Variable("a/b", "u"),)}, "'a/b' of variable 'a/b' is not a valid name"),
        (
            {"fields": (Variable("u", "u", dimensions=("",)),)},
            "'' of variable 'u' is not a valid",
        ),
        ({"fields": (Variable("u", "u", ()),)}, r"long name and units .* one is \(\)"),
        ({"fields": (Variable("u", "u", rank=2),)}, "rank 2"),
        (
            {"coordinates": {"solver": np.arange(3), "y": np.arange(3)}},
            "must not be named 'solver'",
        ),
        ({"coordinates": lambda self: {}}, "`coordinates` is a method.* write @property above it"),
        ({"coordinates": (1, 2)}, "returned a tuple: return a dictionary"),
        ({"times": np.array([0.0, 0.0])}, "times: they do not ascend"),
        ({"boundary_conditions": ("u = 0",)}, "must be a tuple of BoundaryCondition"),
        (
            {"boundary_conditions": condition(dimension="z")},
            "dimension 'z' but the axes are x, y",
        ),
        ({"boundary_conditions": condition(fields=("v",))}, "is for v but the fields are u"),
        ({"boundary_conditions": condition(kind="Dirichlet")}, "the kind 'Dirichlet'"),
        ({"boundary_conditions": 2 * condition()}, "is declared twice: x wall u"),
    ],
)
def test_declarations_that_no_file_can_hold_are_refused(
    attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FamilyError, match=rf"(own|test_declarations)\.py:Own.*{message}"):
        declare(**attributes)
