# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns an exception in a user's family into one message with the line to correct."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import CodeType
from typing import NamedTuple, NoReturn

from kryloset.errors import FamilyError, KrylosetError
from kryloset.problems.base import Family

logger = logging.getLogger(__name__)

#: Advice on messages of other packages, by a part of the message.
ADVICE = {
    "missing an integration domain": "a term that is the number 0 has none: leave it out, or take "
    "fem.Constant(space.mesh, 0.0) for the number",
}

#: Number of characters of an exception's text that a message keeps.
LONGEST = 300


class Place(NamedTuple):
    """A line of a user's file.

    Attributes:
        code: The function that contains it.
        line: Its number.
    """

    code: CodeType
    line: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"line {self.line} of {Path(self.code.co_filename).name}"


@contextmanager
def blamed(
    family: Family | type[Family], method: str | None = None, *, doing: str = ""
) -> Iterator[None]:
    """Turn what a user's family raises into an error that names class, method and line.

    Errors with a message for users pass unchanged. So do exceptions of the package's own
    families, which are faults of the package. `sys.exit` counts as an exception: otherwise a job
    that has written nothing would end as if it had succeeded.

    Args:
        family: The family, or its class.
        method: The method that is called, which is responsible for any exception. None if code of
            the package runs too, whose own exceptions pass.
        doing: What was being done, as in "instance 3".

    Raises:
        FamilyError: The family raised an exception.
    """
    try:
        with exits_raise():
            yield
    except (KrylosetError, KeyboardInterrupt):
        raise
    except BaseException as error:
        own = own_modules(family)
        place = last_place(error, own)
        if not own or (method is None and place is None):
            raise
        logger.debug("exception in a family", exc_info=error)
        parts = [
            describe_class(family),
            method or (place and place.code.co_name),
            doing,
            place and str(place),
        ]
        where = ", ".join(part for part in parts if part)
        raise FamilyError(f"{where}: {describe_error(error)}") from error


@contextmanager
def exits_raise() -> Iterator[None]:
    """Make `os._exit` raise, since a job that it ended would look successful."""
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a forked child may end this way
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def describe_class(family: Family | type[Family]) -> str:
    """Return the name of a family in messages, such as `mine.py:Heat`."""
    kind = family if isinstance(family, type) else type(family)
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if not own_modules(family) or file is None:
        return f"family {kind.__name__}"
    return f"family {Path(file).name}:{kind.__name__}"


def describe_error(error: BaseException) -> str:
    """Return an exception in words."""
    if isinstance(error, SystemExit):
        return (
            "it ends the program (sys.exit, os._exit): remove the call. To refuse an instance, "
            "raise kryloset.errors.DataError with a message"
        )
    # str() of a KeyError puts its text in quotes.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    said = " ".join(text.split())
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]} ..."
    said += "".join(f" ({advice})" for words, advice in ADVICE.items() if words in said)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def own_modules(family: Family | type[Family]) -> set[str]:
    """Return the modules outside the package that define a family's class and its bases."""
    kind = family if isinstance(family, type) else type(family)
    modules = {base.__module__ for base in kind.__mro__}
    return {m for m in modules if m.partition(".")[0] not in ("kryloset", "abc", "builtins")}


def last_place(error: BaseException, modules: set[str]) -> Place | None:
    """Return the innermost line in these modules that an exception passed."""
    places = [
        Place(frame.f_code, line)
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in modules
    ]
    return places[-1] if places else None
