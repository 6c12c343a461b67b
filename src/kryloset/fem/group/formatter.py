# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""FFCx's kernels in C, with a vector of lanes in place of every number that depends on an instance.

FFCx generates a small program (L-nodes) before it writes C. Here it is written with the type
`lanes` for what depends on coefficients, constants or the element tensor, and with `double` for
tables and geometry, which all instances of a group share. Lanes across instances need no change of
the algorithm, whereas lanes across cells (Sun, Mitchell, Kulkarni, Kloeckner, Ham, Kelly, IJHPCA
34, 2020) need equal cells.
"""

from functools import singledispatchmethod

import ffcx.codegeneration.lnodes as L
import numpy as np
from ffcx.codegeneration.C.formatter import Formatter, math_table

# FFCx's table has it as atan_2, which UFL does not write.
_NAMES = {**math_table["float64"], "atan2": "atan2"}
"""Names of functions in C by their names in L-nodes."""

_LARGEST_EXPONENT = 8
"""Largest exponent of a power that is computed by products."""


class LanesFormatter(Formatter):
    """Writes the body of a kernel. `lanes.h` has the types and macros that it uses."""

    def __init__(self) -> None:
        """Begin a kernel: the element tensor, its coefficients and constants are lanes."""
        super().__init__(np.float64)
        self._varying = {"A", "w", "c"}

    def write_body(self, program: L.StatementList) -> str:
        """Write a program: what all lanes share once, and the rest for each vector of them."""
        known = 0
        while known < len(self._varying):
            known = len(self._varying)
            self._mark(program)
        texts: tuple[list[str], list[str]] = [], []
        for statement in program.statements:
            texts[self._mark(statement)].append(self(statement))
        shared, varying = map("".join, texts)
        advance = "A += size, w += slots, c += constants"
        return f"{shared}for (int v = 0; v < VECTORS; ++v, {advance})\n{{\n{varying}}}\n"

    def _mark(self, node: L.LNode) -> bool:
        """Mark the variables of a statement that depend on the lane; return whether it sets any."""
        match node:
            case L.StatementList():
                # Not `any` of a generator: every statement is to be seen.
                return any([self._mark(each) for each in node.statements])
            case L.Section():
                return any([self._mark(each) for each in (*node.declarations, *node.statements)])
            case L.ForRange():
                return self._mark(node.body)
            case L.VariableDecl():
                name, varies = node.symbol.name, self._varies(node.value)
            case L.ArrayDecl():
                name, varies = node.symbol.name, False
            case L.Comment():
                return False
            case L.Statement(expr=L.AssignOp(lhs=target, rhs=value)):
                name = (target.array if isinstance(target, L.ArrayAccess) else target).name
                varies = self._varies(value)
            case _:
                raise NotImplementedError(f"a kernel has a {type(node).__name__}")
        if varies:
            self._varying.add(name)
        return name in self._varying

    @singledispatchmethod
    def __call__(self, node: L.LNode) -> str:
        """Write a node as C."""
        return str(super().__call__(node))

    @__call__.register
    def _(self, node: L.ArrayDecl) -> str:
        if node.symbol.name not in self._varying:
            return str(super().__call__(node))
        if node.values is not None and np.any(node.values):
            raise NotImplementedError(f"the array {node.symbol.name} of lanes has initial values")
        sizes = "".join(f"[{size}]" for size in node.sizes)
        zeros = "" if node.values is None else " = {{0}}"
        return f"lanes {node.symbol.name}{sizes}{zeros};\n"

    @__call__.register
    def _(self, node: L.VariableDecl) -> str:
        name = node.symbol.name
        if name not in self._varying:
            return str(super().__call__(node))
        if node.symbol.dtype == L.DataType.BOOL:
            return f"masks {name} = {self._mask(node.value)};\n"
        return f"lanes {name} = {self._lanes(node.value)};\n"

    @__call__.register
    def _(self, node: L.Assign) -> str:
        if not self._varies(node.lhs):
            return str(super().__call__(node))
        return f"{self(node.lhs)} = {self._lanes(node.rhs)};\n"

    @__call__.register(L.EQ)
    @__call__.register(L.NE)
    @__call__.register(L.LT)
    @__call__.register(L.LE)
    @__call__.register(L.GT)
    @__call__.register(L.GE)
    def _(self, node: L.BinOp) -> str:
        written = super().__call__(node)
        return f"((masks)({written}))" if self._varies(node) else str(written)

    @__call__.register(L.And)
    @__call__.register(L.Or)
    def _(self, node: L.BinOp) -> str:
        if not self._varies(node):
            return str(super().__call__(node))
        return f"({self._mask(node.lhs)} {node.op[0]} {self._mask(node.rhs)})"

    @__call__.register
    def _(self, node: L.Not) -> str:
        return f"(~{self._mask(node.arg)})" if self._varies(node) else str(super().__call__(node))

    @__call__.register
    def _(self, node: L.Conditional) -> str:
        if not self._varies(node):
            return str(super().__call__(node))
        results = f"{self._lanes(node.true)}, {self._lanes(node.false)}"
        return f"SELECT({self._mask(node.condition)}, {results})"

    @__call__.register
    def _(self, node: L.MathFunction) -> str:
        if not self._varies(node):
            return str(super().__call__(node))
        if node.function == "power" and self._exponent(node) is not None:
            return f"power({self(node.args[0])}, {self._exponent(node)})"
        if node.function in ("min_value", "max_value"):
            name = node.function.split("_")[0].upper()
            return f"{name}({', '.join(map(self._lanes, node.args))})"
        name = _NAMES.get(node.function)
        if name is None:
            raise NotImplementedError(f"the function {node.function} has no name in C")
        arguments = ", ".join(self._one(argument) for argument in node.args)
        return f"EACH({name}({arguments}))"

    def _exponent(self, node: L.MathFunction) -> int | None:
        """Return the exponent of a power if it is a small integer."""
        base, exponent = node.args
        if not (isinstance(exponent, L.LiteralInt | L.LiteralFloat) and self._varies(base)):
            return None
        value = float(np.real(exponent.value))
        return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXPONENT else None

    def _varies(self, node: L.LNode) -> bool:
        """Return whether the value of an expression depends on the lane."""
        match node:
            case L.Symbol():
                return node.name in self._varying
            case L.ArrayAccess():
                return node.array.name in self._varying
            case L.MathFunction() | L.NaryOp():
                return any(map(self._varies, node.args))
            case L.BinOp():
                return self._varies(node.lhs) or self._varies(node.rhs)
            case L.PrefixUnaryOp():
                return self._varies(node.arg)
            case L.Conditional():
                return any(map(self._varies, (node.condition, node.true, node.false)))
            case _:
                return False

    def _lanes(self, node: L.LNode) -> str:
        """Write an expression as lanes, all equal if it is a scalar."""
        written = self(node)
        return written if self._varies(node) else f"EACH({written})"

    def _one(self, node: L.LNode) -> str:
        """Write an expression inside of EACH, where `lane` is a number."""
        written = self(node)
        return f"({written})[lane]" if self._varies(node) else written

    def _mask(self, node: L.LNode) -> str:
        """Write a condition as a mask: all bits of a lane for true, none for false."""
        written = self(node)
        return written if self._varies(node) else f"EVERY({written})"
