# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Progress of long work: a bar on a terminal or in a notebook, lines now and then in a log file."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from html import escape

logger = logging.getLogger(__name__)

#: Seconds between two lines in a log file.
LOG_INTERVAL = 5.0
#: Seconds between two states of a bar in a notebook.
BAR_INTERVAL = 0.2


def start_logging(level: int) -> None:
    """Log to the standard error stream, each line with its time."""
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def track[T](
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    done: int = 0,
    amount: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield the items, and show how many of them are done.

    Args:
        items: The items of the work.
        description: The work, such as "solving chunk 1-of-2".
        total: Number of all items, including `done`; by default `len(items) + done`.
        done: Number of items that were done before, by a run that was interrupted.
        amount: For how many an item counts, such as a group of instances. Give `total` then.

    Yields:
        The items, one by one.
    """
    if total is None:
        if not isinstance(items, Sized):
            raise TypeError("track needs `total` for items without a length")
        total = len(items) + done
    say, interval = logger.info, LOG_INTERVAL
    if sys.stderr.isatty() or "IPython" in sys.modules:
        # Imported here, since jobs write to files.
        from rich import progress as bars
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal:
            columns = (
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
            )
            with bars.Progress(*columns, console=console) as progress:
                task = progress.add_task(description, total=total, completed=done)
                for item in items:
                    yield item
                    progress.advance(task, amount(item))
            return
        if console.is_jupyter:
            say, interval = _make_bar(total), BAR_INTERVAL
    began = said = time.monotonic()
    count = done
    for item in items:
        yield item
        count += amount(item)
        now = time.monotonic()
        if now - said >= interval or count == total:
            said = now
            left = (now - began) / (count - done) * (total - count)
            say("%s: %d of %d, %.0f s left", description, count, total, left)


def _make_bar(total: int) -> Callable[..., None]:
    """Return what shows a bar in a notebook, and is called as a logger is."""
    # Rich would need ipywidgets for this.
    from IPython.display import HTML, display

    shown = display(HTML(""), display_id=True)

    def say(text: str, description: str, count: int, *rest: float) -> None:
        bar = f'<progress value="{count}" max="{total}"></progress>'
        shown.update(HTML(f"{bar} {escape(text % (description, count, *rest))}"))

    return say
