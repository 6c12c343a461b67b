# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The forms that a family returns are checked before they are compiled.

Compiled code trusts them: a form with another number of arguments, of another space or with tags
of another mesh writes where it should not, and ends the process or changes numbers in silence.
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

#: Arguments of a form by the numbers that UFL gives them.
_ARGUMENTS = {0: "TestFunction", 1: "TrialFunction"}
#: Dimension of what a measure integrates over, less than that of the mesh.
_MEASURES = {"cell": 0, "exterior_facet": 1, "interior_facet": 1}
_NAMES = {"cell": "dx", "exterior_facet": "ds", "interior_facet": "dS"}


class Parameters(dict[str, Any]):
    """What `weak_form` sees of the parameters: a name that is not there is answered in words."""

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
    """Return the forms of a family, having made sure that they can be compiled.

    Args:
        family: A family with a `weak_form`.
        kind: What it returns.
        space: The space of the solution.
        parameters: By name.
        more: What else `weak_form` takes.

    Raises:
        FamilyError: A form has not the arguments that it must have, or is not one on the space
            and its mesh; or a condition cannot be prescribed.
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
    """Let parameters be NaN while a form is made, so that a copy of their values is found in it.

    The form is made once: a copy would be that of no instance.
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
        raise FamilyError(f"{where} is a {type(form).__name__}, and must be a form of UFL")
    if not form.integrals():
        raise FamilyError(f"{where} is zero: {_zero(name)}")
    _check_arguments(where, name, form, space, rank)
    domain = space.mesh.ufl_domain()
    if any(other != domain for other in form.ufl_domains()):
        raise FamilyError(
            f"{where} has parts on another mesh: take all from `space.mesh`, as in "
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
    return "write fem.Constant(space.mesh, 0.0) * v * ufl.dx where there is no source"


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
            "L": "take the terms that have one to `a`, or split a sum by ufl.lhs and ufl.rhs",
            "F": "write it with the Function u that `weak_form` is given",
        }.get(name, "it must have a TrialFunction and a TestFunction and no other")
        raise FamilyError(f"{where} has a {_ARGUMENTS.get(rank, 'third argument')}: {advice}")
    for argument in arguments:
        if argument.ufl_function_space() != space or argument.part() is not None:
            raise FamilyError(
                f"{where}: its {_ARGUMENTS[argument.number()]} is of another space: make it with "
                "the `space` that `weak_form` is given, and choose the element in `make_element`"
            )


def _check_linear(where: str, form: ufl.Form) -> None:
    """Refuse what is not linear in each argument; the compiler finds it too, and hangs after."""
    numbers_are_complex = default_scalar_type != default_real_type
    try:
        preprocessed = preprocess_form(form, numbers_are_complex)
        check_form_arity(preprocessed, form.arguments(), numbers_are_complex)
    except ArityMismatch as error:
        raise FamilyError(
            f"{where} is not linear in its arguments ({error}): take terms without a TrialFunction "
            "to the right-hand side, and products of unknowns to a NonlinearFamily"
        ) from error


def _check_coefficient(where: str, item: Any, mesh: Mesh) -> None:
    if not isinstance(item, fem.Function):
        raise FamilyError(
            f"{where} has a {type(item).__name__} of UFL without values: take fem.Function"
        )
    if item.function_space.mesh.ufl_domain() != mesh.ufl_domain():
        raise FamilyError(
            f"{where} has a Function on another mesh: make its space on `space.mesh`, and "
            "interpolate"
        )
    _check_numbers(where, "Function", item.x.array)


def _check_constant(where: str, item: Any) -> None:
    if not isinstance(item, fem.Constant):
        raise FamilyError(f"{where} has a Constant of UFL without a value: take fem.Constant")
    _check_numbers(where, "Constant", item.value)


def _check_numbers(where: str, what: str, values: Any) -> None:
    if values.dtype != default_scalar_type:
        advice = (
            "write real and imaginary part as two equations"
            if values.dtype.kind == "c"
            else "write numbers with a decimal point"
        )
        raise FamilyError(
            f"{where} has a {what} of the type {values.dtype}, and must have "
            f"{np.dtype(default_scalar_type)}: {advice}"
        )
    if not np.isfinite(values).all():
        raise FamilyError(
            f"{where} has a {what} that is not finite: where it is made from the values of a "
            "parameter, which change, write the parameter itself"
        )


def _check_literal(where: str, part: Any) -> None:
    if isinstance(part, ComplexValue) and default_scalar_type == default_real_type:
        raise FamilyError(
            f"{where} has a complex number, and this PETSc real ones: write real and imaginary "
            "part as two equations"
        )
    if isinstance(part, FloatValue) and not np.isfinite(float(part)):
        raise FamilyError(f"{where} has the number {float(part)}, which is not finite")


class _Part(NamedTuple):
    """What an integral is over: measure, number of the part, and tags that say which that is."""

    measure: str
    number: Any
    tags: Any


def _check_measures(where: str, form: ufl.Form, mesh: Mesh) -> None:
    parts = [
        _Part(i.integral_type(), i.subdomain_id(), i.subdomain_data()) for i in form.integrals()
    ]
    for measure, number, tags in parts:
        if measure not in _MEASURES:
            raise FamilyError(f"{where} integrates over a {measure}: take dx, ds or dS")
        named = f"{where}: {_NAMES[measure]}({'' if number == 'everywhere' else number})"
        if tags is None:
            if number != "everywhere":
                raise FamilyError(
                    f"{named} has no tags that say which part {number} is: take ufl.Measure("
                    f"{_NAMES[measure]!r}, domain=space.mesh, subdomain_data=tags)"
                )
            continue
        _check_tags(named, tags, mesh, mesh.topology.dim - _MEASURES[measure])
        if number != "everywhere":
            found = mesh.comm.allreduce(int(np.count_nonzero(tags.values == number)), MPI.SUM)
            if not found:
                raise FamilyError(
                    f"{named}: nothing has the tag {number}, so that the integral is zero; the "
                    f"tags are {', '.join(map(str, np.unique(tags.values)[:9])) or 'none'}"
                )
    for measure in _MEASURES:
        _require_one(where, measure, (part.tags for part in parts if part.measure == measure))


def _check_tags(named: str, tags: Any, mesh: Mesh, dimension: int) -> None:
    if not isinstance(tags, MeshTags):
        raise FamilyError(
            f"{named} has subdomain_data of the type {type(tags).__name__}: take "
            "dolfinx.mesh.meshtags"
        )
    if tags.dim != dimension:
        raise FamilyError(
            f"{named} has tags of entities of dimension {tags.dim}, and needs {dimension}"
        )
    if tags.topology is not mesh.topology._cpp_object:
        raise FamilyError(f"{named} has tags of another mesh: make them on `space.mesh`")


def _require_one(where: str, measure: str, tags: Iterable[Any]) -> None:
    if len({id(one) for one in tags if one is not None}) > 1:
        raise FamilyError(
            f"{where} has two sets of tags for {_NAMES[measure]}: make one MeshTags with all "
            "numbers, for a form holds one"
        )
