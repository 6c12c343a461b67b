# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks the forms that a family returns before they are compiled.

Compiled code checks nothing: a form with the wrong number of arguments, on another space or with
tags of another mesh would write out of bounds, which crashes the process or silently changes
numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from mpi4py import MPI

import numpy as np
import ufl
from dolfinx import default_real_type, default_scalar_type, fem
from dolfinx.mesh import Mesh, MeshTags
from ufl.algorithms.check_arities import ArityMismatch, check_form_arity
from ufl.algorithms.compute_form_data import preprocess_form
from ufl.constantvalue import ComplexValue, FloatValue
from ufl.core.expr import Expr
from ufl.corealg.traversal import unique_pre_traversal

from kryloset.errors import FamilyError
from kryloset.fem.condition_checks import check_conditions
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import NonlinearForm, WeakForm

#: Names of the arguments of a form by UFL's number.
_ARGUMENTS = {0: "TestFunction", 1: "TrialFunction"}
#: Codimension of the entities that a measure integrates over.
_MEASURES = {"cell": 0, "exterior_facet": 1, "interior_facet": 1}
_NAMES = {"cell": "dx", "exterior_facet": "ds", "interior_facet": "dS"}


class Parameters(dict[str, Any]):
    """The parameters that `weak_form` receives, with a helpful message for unknown names."""

    def __missing__(self, name: str) -> Any:
        """Refuse a name."""
        raise KeyError(f"there is no parameter {name!r}: `parameters` has {', '.join(self)}")


def read_weak_form[Form: (WeakForm, NonlinearForm)](
    family: Any,
    kind: type[Form],
    space: fem.FunctionSpace,
    parameters: Mapping[str, Any],
    *more: Any,
) -> Form:
    """Return the forms of a family after checking that they can be compiled.

    Args:
        family: A family with a `weak_form`.
        kind: The type that it must return.
        space: The space of the solution.
        parameters: Functions and Constants by the names of the parameters.
        more: Further arguments of `weak_form`.

    Raises:
        FamilyError: A form does not have the arguments that it needs or is not on the space and
            its mesh, or a boundary condition cannot be prescribed.
    """
    with blamed(family, "weak_form"), _without_values(parameters):
        weak = family.weak_form(space, Parameters(parameters), *more)
    where = f"{describe_class(family)}, weak_form"
    if not isinstance(weak, kind):
        returned = "nothing" if weak is None else f"a {type(weak).__name__}"
        fields = ", ".join(kind._fields[:-1])
        raise FamilyError(f"{where} returned {returned}: return {kind.__name__}({fields})")
    ranks = {"a": 2, "L": 1, "F": 1}
    for name, form in zip(kind._fields[:-1], weak, strict=False):
        with blamed(family, "weak_form"):
            _check_form(f"{where}: form {name}", name, form, space, ranks[name])
    check_conditions(family, where, space, weak.boundary)
    return weak


@contextmanager
def _without_values(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Set parameters to NaN while a form is made, so that a copy of their values is detected.

    The form is made once for all instances, so a copy would belong to none of them.
    """
    arrays = [p.x.array if isinstance(p, fem.Function) else p.value for p in parameters.values()]
    for array in arrays:
        array[...] = np.nan
    try:
        yield
    finally:
        for array in arrays:
            array[...] = 0


def _check_form(where: str, name: str, form: Any, space: fem.FunctionSpace, rank: int) -> None:
    if not isinstance(form, ufl.Form):
        if isinstance(form, Expr):
            raise FamilyError(f"{where} has no measure: multiply the integrand by ufl.dx")
        if not form:
            raise FamilyError(f"{where} is {form!r}: {_zero(name)}")
        raise FamilyError(f"{where} is a {type(form).__name__} and must be a UFL form")
    if not form.integrals():
        raise FamilyError(f"{where} is zero: {_zero(name)}")
    _check_arguments(where, name, form, space, rank)
    domain = space.mesh.ufl_domain()
    if any(other != domain for other in form.ufl_domains()):
        raise FamilyError(
            f"{where} has parts on another mesh: use `space.mesh` throughout, as in "
            "ufl.SpatialCoordinate(space.mesh)"
        )
    for item in form.coefficients():
        _check_coefficient(where, item, space.mesh)
    for item in form.constants():
        _check_constant(where, item)
    for integral in form.integrals():
        for part in unique_pre_traversal(integral.integrand()):
            _check_literal(where, part)
    _check_measures(where, form, space.mesh)
    _check_linear(where, form)


def _zero(name: str) -> str:
    if name == "a":
        return "no equation is left"
    return "write fem.Constant(space.mesh, 0.0) * v * ufl.dx if there is no source"


def _check_arguments(
    where: str, name: str, form: ufl.Form, space: fem.FunctionSpace, rank: int
) -> None:
    arguments = form.arguments()
    numbers = {argument.number() for argument in arguments}
    for number in range(rank):
        if number not in numbers:
            raise FamilyError(
                f"{where} has no {_ARGUMENTS[number]}: it must be linear in "
                f"ufl.{_ARGUMENTS[number]}(space)"
            )
    if len(arguments) > rank:
        advice = {
            "L": "move the terms that have one to `a`, or split a sum by ufl.lhs and ufl.rhs",
            "F": "write it with the Function u that `weak_form` receives",
        }.get(name, "it must have one TrialFunction and one TestFunction")
        raise FamilyError(f"{where} has a {_ARGUMENTS.get(rank, 'third argument')}: {advice}")
    for argument in arguments:
        if argument.ufl_function_space() != space or argument.part() is not None:
            raise FamilyError(
                f"{where}: its {_ARGUMENTS[argument.number()]} is on another space: make it with "
                "the `space` that `weak_form` receives, and choose the element in `make_element`"
            )


def _check_linear(where: str, form: ufl.Form) -> None:
    """Refuse a form that is not linear in each argument. The compiler would hang on it."""
    numbers_are_complex = default_scalar_type != default_real_type
    try:
        preprocessed = preprocess_form(form, numbers_are_complex)
        check_form_arity(preprocessed, form.arguments(), numbers_are_complex)
    except ArityMismatch as error:
        raise FamilyError(
            f"{where} is not linear in its arguments ({error}): move terms without a TrialFunction "
            "to the right-hand side, and use a NonlinearFamily for products of unknowns"
        ) from error


def _check_coefficient(where: str, item: Any, mesh: Mesh) -> None:
    if not isinstance(item, fem.Function):
        raise FamilyError(
            f"{where} has a {type(item).__name__} of UFL without values: use fem.Function"
        )
    if item.function_space.mesh.ufl_domain() != mesh.ufl_domain():
        raise FamilyError(
            f"{where} has a Function on another mesh: make its space on `space.mesh`, and "
            "interpolate"
        )
    _check_numbers(where, "Function", item.x.array)


def _check_constant(where: str, item: Any) -> None:
    if not isinstance(item, fem.Constant):
        raise FamilyError(f"{where} has a Constant of UFL without a value: use fem.Constant")
    _check_numbers(where, "Constant", item.value)


def _check_numbers(where: str, what: str, values: Any) -> None:
    if values.dtype != default_scalar_type:
        advice = (
            "write real and imaginary part as two equations"
            if values.dtype.kind == "c"
            else "write numbers with a decimal point"
        )
        raise FamilyError(
            f"{where} has a {what} of the type {values.dtype} instead of "
            f"{np.dtype(default_scalar_type)}: {advice}"
        )
    if not np.isfinite(values).all():
        raise FamilyError(
            f"{where} has a {what} that is not finite: if it is computed from the values of a "
            "parameter, which change, use the parameter itself"
        )


def _check_literal(where: str, part: Any) -> None:
    if isinstance(part, ComplexValue) and default_scalar_type == default_real_type:
        raise FamilyError(
            f"{where} has a complex number, but this PETSc has real ones: write real and imaginary "
            "part as two equations"
        )
    if isinstance(part, FloatValue) and not np.isfinite(float(part)):
        raise FamilyError(f"{where} has the number {float(part)}, which is not finite")


class _Part(NamedTuple):
    """The domain of an integral: measure, number of the part, and the tags that mark it."""

    measure: str
    number: Any
    tags: Any


def _check_measures(where: str, form: ufl.Form, mesh: Mesh) -> None:
    parts = [
        _Part(i.integral_type(), i.subdomain_id(), i.subdomain_data()) for i in form.integrals()
    ]
    for measure, number, tags in parts:
        if measure not in _MEASURES:
            raise FamilyError(f"{where} integrates over a {measure}: use dx, ds or dS")
        named = f"{where}: {_NAMES[measure]}({'' if number == 'everywhere' else number})"
        if tags is None:
            if number != "everywhere":
                raise FamilyError(
                    f"{named} has no tags that mark part {number}: use ufl.Measure("
                    f"{_NAMES[measure]!r}, domain=space.mesh, subdomain_data=tags)"
                )
            continue
        _check_tags(named, tags, mesh, mesh.topology.dim - _MEASURES[measure])
        if number != "everywhere":
            found = mesh.comm.allreduce(int(np.count_nonzero(tags.values == number)), MPI.SUM)
            if not found:
                raise FamilyError(
                    f"{named}: nothing has the tag {number}, so that the integral is zero. The "
                    f"tags are {', '.join(map(str, np.unique(tags.values)[:9])) or 'none'}"
                )
    for measure in _MEASURES:
        _require_one(where, measure, (part.tags for part in parts if part.measure == measure))


def _check_tags(named: str, tags: Any, mesh: Mesh, dimension: int) -> None:
    if not isinstance(tags, MeshTags):
        raise FamilyError(
            f"{named} has subdomain_data of the type {type(tags).__name__}: use "
            "dolfinx.mesh.meshtags"
        )
    if tags.dim != dimension:
        raise FamilyError(
            f"{named} has tags of entities of dimension {tags.dim} and needs {dimension}"
        )
    if tags.topology is not mesh.topology._cpp_object:
        raise FamilyError(f"{named} has tags of another mesh: make them on `space.mesh`")


def _require_one(where: str, measure: str, tags: Iterable[Any]) -> None:
    if len({id(one) for one in tags if one is not None}) > 1:
        raise FamilyError(
            f"{where} has two sets of tags for {_NAMES[measure]}, but a form can have only one: "
            "make one MeshTags with all numbers"
        )
