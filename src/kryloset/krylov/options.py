# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options that PETSc reads only from its database, and those that a user passes through."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.interrupts import pass_interrupt
from kryloset.krylov.petsc_options import PetscOptions

PREFIX = "kryloset_"
"""Prefix of options that are set, read and deleted at once."""

UNKNOWN_TYPE = re.compile(r"Unknown (or unregistered )?type|Could not locate solver type")
"""What PETSc says of a type that an option names and that it does not have."""

USER_PREFIX = "kryloset_user_"
"""Prefix of options that a user passes through (`Settings.petsc_options`)."""

ADDRESSES = ("vec_mdot_use_gemv", "vec_maxpy_use_gemv")
"""Options by which PETSc leaves products of a basis to BLAS, on as of PETSc 3.20.

BLAS sums in an order that depends on the addresses of the vectors, which vary from run to run. The
last digits of GMRES's iterates would then vary, too. PETSc's own loops take as long."""


def keep_bits() -> None:
    """Make products with all vectors created from now on the same in every run.

    Options that the user has set are not changed.
    """
    options = PETSc.Options()
    for name in ADDRESSES:
        if not options.hasName(name):
            options[name] = False
            # PETSc would warn of an option that nobody has asked for.
            options.getBool(name)


def set_from_options(pc: PETSc.PC, chosen: dict[str, Any]) -> None:
    """Set options of a preconditioner, and leave none in the database. Collective."""
    prefix = pc.getOptionsPrefix()
    pc.setOptionsPrefix(PREFIX)
    options = PETSc.Options(PREFIX)
    for key, value in chosen.items():
        options[key] = value
    pc.setFromOptions()
    for key in chosen:
        del options[key]
    pc.setOptionsPrefix(prefix)


def read_user_options(reader: PETSc.KSP | PETSc.PC) -> None:
    """Let a KSP or preconditioner read the options under its prefix. Collective.

    Raises:
        KrylosetError: if PETSc refuses the value of an option.
    """
    try:
        reader.setFromOptions()
    except PETSc.Error as error:
        pass_interrupt(error)
        raise _refused(error) from error


def require_known_types(error: PETSc.Error) -> None:
    """Tell an option whose value names no type of PETSc's from a set-up that failed.

    Such a value, as of pc_factor_mat_ordering_type, is looked at as late as then.

    Raises:
        KrylosetError: if the set-up failed by such a value.
    """
    if UNKNOWN_TYPE.search(str(error)):
        raise _refused(error) from error


def _refused(error: PETSc.Error) -> KrylosetError:
    last = str(error).splitlines()[-1].removeprefix("[0]").strip()
    return KrylosetError(f"petsc_options: PETSc refuses a value: {last}")


class UserOptions:
    """Options that a user passes through to one KSP and its preconditioner.

    They are in PETSc's database only while that KSP is set up or solves.
    """

    def __init__(self, options: PetscOptions) -> None:
        """Take the options; there may be none."""
        self._options = dict(options)
        self._unused = set(options)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._options)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Hold the options in the database, and see which of them PETSc reads."""
        if not self._options:
            yield
            return
        database, everything = PETSc.Options(USER_PREFIX), PETSc.Options()
        for name, value in self._options.items():
            database[name] = None if value == "" else value
        try:
            yield
        finally:
            self._unused -= {name for name in self._unused if everything.used(USER_PREFIX + name)}
            for name in self._options:
                # An option that was not read would be reported by PETSc at the end.
                database.delValue(name)

    def require_used(self, method: str, preconditioner: str) -> None:
        """Refuse options that PETSc has not read in a whole solve.

        Args:
            method: the method that ran, for the message.
            preconditioner: its preconditioner, for the message.

        Raises:
            KrylosetError: names them.
        """
        if self._unused:
            raise KrylosetError(
                f"petsc_options: PETSc has no use for {', '.join(sorted(self._unused))} with "
                f"method {method} and preconditioner {preconditioner}: look for a misspelling, or "
                "for the option's prefix (PETSc's own `-help` lists what a solver reads)"
            )
