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


class LanesFormatter(Formatter):
    """Writes the body of a kernel. `lanes.h` has the types and macros that it uses."""

    def __init__(self) -> None:
        """Begin a kernel: the element tensor, its coefficients and constants are lanes."""
        super().__init__(np.float64)
        self._varying = {"A", "w", "c"}

    @singledispatchmethod
    def __call__(self, node: L.LNode) -> str:
        """Write a node as C."""
        return super().__call__(node)

    @__call__.register
    def _(self, node: L.ArrayDecl) -> str:
        if node.symbol.dtype != L.DataType.SCALAR:
            return super().__call__(node)
        if node.values is not None and np.any(node.values):
            raise NotImplementedError(f"the array {node.symbol.name} of lanes has initial values")
        self._varying.add(node.symbol.name)
        sizes = "".join(f"[{size}]" for size in node.sizes)
        zeros = "" if node.values is None else " = {{0}}"
        return f"lanes {node.symbol.name}{sizes}{zeros};\n"

    @__call__.register
    def _(self, node: L.VariableDecl) -> str:
        # FFCx takes the type of a choice from its results. Here its condition counts, too.
        if node.symbol.dtype != L.DataType.SCALAR and not self._varies(node.value):
            return super().__call__(node)
        self._varying.add(node.symbol.name)
        if node.symbol.dtype == L.DataType.BOOL:
            return f"masks {node.symbol.name} = {self._mask(node.value)};\n"
        return f"lanes {node.symbol.name} = {self._lanes(node.value)};\n"

    @__call__.register
    def _(self, node: L.Assign) -> str:
        if not self._varies(node.lhs):
            return super().__call__(node)
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
            return super().__call__(node)
        return f"({self._mask(node.lhs)} {node.op[0]} {self._mask(node.rhs)})"

    @__call__.register
    def _(self, node: L.Not) -> str:
        return f"(~{self._mask(node.arg)})" if self._varies(node) else super().__call__(node)

    @__call__.register
    def _(self, node: L.Conditional) -> str:
        if not self._varies(node):
            return super().__call__(node)
        results = f"{self._lanes(node.true)}, {self._lanes(node.false)}"
        return f"SELECT({self._mask(node.condition)}, {results})"

    @__call__.register
    def _(self, node: L.MathFunction) -> str:
        if not self._varies(node):
            return super().__call__(node)
        if node.function in ("min_value", "max_value"):
            name = node.function.split("_")[0].upper()
            return f"{name}({', '.join(map(self._lanes, node.args))})"
        name = math_table["float64"].get(node.function)
        if name is None:
            raise NotImplementedError(f"the function {node.function} has no name in C")
        arguments = ", ".join(self._one(argument) for argument in node.args)
        return f"EACH({name}({arguments}))"

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
