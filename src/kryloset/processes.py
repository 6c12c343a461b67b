# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Work that is divided among processes, which a fork gives all that this one has in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kryloset.errors import KrylosetError

_job: Callable[[Any], Any]


@contextmanager
def in_processes[A, B](
    job: Callable[[A], B], workers: int
) -> Iterator[Callable[[Sequence[A]], Iterable[B]]]:
    """Give a function that does a job for many arguments, as `map` does.

    Args:
        job: The job. It is not pickled, but arguments and results are.
        workers: Number of processes. With fewer than two the job is done in this one.

    Yields:
        From a sequence of arguments to the results in their order. An exception of the job is
        raised, and the arguments after it are left.

    Raises:
        KrylosetError: A process was ended.
    """
    if workers < 2:
        yield lambda arguments: map(job, arguments)
        return
    # Imported here, since many datasets are drawn before they are.
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        workers, mp_context=get_context("fork"), initializer=_remember, initargs=(job,)
    ) as pool:
        try:
            yield lambda arguments: pool.map(_do, arguments)
        except BrokenProcessPool:
            raise KrylosetError(
                f"one of {workers} processes was ended, perhaps for want of memory: take fewer"
            ) from None


def _remember(job: Callable[[Any], Any]) -> None:
    global _job
    _job = job


def _do(argument: Any) -> Any:
    return _job(argument)
