# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Keep the instances of an earlier dataset, as the `count` or the further grids of it change.

The sort finds the earlier dataset and writes digests of what is kept into `order.h5`. The solve of
a chunk copies kept rows as they are stored, and the verification compares them with these digests.
So nothing is mixed, whatever happens to the earlier dataset in between.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, GridPoints
from kryloset.dataset.failures import count_attempts
from kryloset.dataset.integrity import digest_instance
from kryloset.dataset.layout import narrow
from kryloset.dataset.origin import dump_earlier
from kryloset.dataset.staged import StagedFile, StagedWriter
from kryloset.errors import DataError
from kryloset.problems import Family
from kryloset.problems.checks.drawing import Drawing, Given
from kryloset.problems.populations import Population
from kryloset.run import files
from kryloset.run.checks.redrawn import check_redrawn
from kryloset.run.kept import ORDER, Kept

logger = logging.getLogger(__name__)

LINK = "kept.h5"
"""A second name of the earlier dataset, beside `order.h5`, until the new dataset has its own.

Snakemake removes an old output before it runs the rule that makes it.
"""


@dataclass(frozen=True)
class Keeping:
    """What `order.h5` says of instances that are kept.

    Attributes:
        count: How many instances are kept.
        digests: By path, from `Kept.digests`.
        earlier: The runs that made them, as text; None if they are as good as made by the new one.
        source: The earlier dataset, relative to the folder of `order.h5`.
    """

    count: int
    digests: Mapping[str, NDArray[np.uint8]]
    earlier: str | None
    source: str

    def write(self, order: StagedWriter) -> None:
        """Write it."""
        order.describe({files.SOURCE: self.source})
        if self.earlier is not None:
            order.text(files.EARLIER, self.earlier)
        for path, digests in self.digests.items():
            order.array(path, digests)


@contextmanager
def find_kept(
    earlier: Path | None, order: Path, config: DatasetConfig, family: Family, given: Given | None
) -> Iterator[Kept | None]:
    """Open an earlier dataset, if a new one keeps instances of it.

    That is so if all fits that solutions depend on, and `count` or the further grids change. If
    nothing at all has changed, everything is kept. Otherwise the user wants to see the effect of
    another order, or of other code.

    Args:
        earlier: The dataset; it may be missing.
        order: The `order.h5` that will be made.
        config: The new dataset.
        family: Its family.
        given: The parameters that are not drawn; None if all are.
    """
    names = [] if earlier is None else [earlier, order.with_name(LINK)]
    with ExitStack() as stack:
        path = next((path for path in names if path.exists()), None)
        yield None if path is None else _fitting(stack, path, config, family, given)


def _fitting(
    stack: ExitStack, path: Path, config: DatasetConfig, family: Family, given: Given | None
) -> Kept | None:
    try:
        kept = stack.enter_context(Kept(path, family, config.count))
        precision = config.storage.precision
        draw = Drawing(family, given, count_attempts(kept.failures()), precision)
        why = kept.why_not(config) or _why_again(kept, config, draw)
        if why is None:
            # Those that were left out, or drawn again, may be valid in another file.
            check_redrawn([Population(family)], config.seed, kept.failures(), given)
    except DataError as error:
        why = str(error)
    if why is None:
        return kept
    _say_why(path, why)
    return None


def _why_again(kept: Kept, config: DatasetConfig, draw: Drawing) -> str | None:
    """Return why instances that could be kept are solved again; None if they are kept."""
    drawn = kept.drawn()
    for index in kept.numbers[[0, -1]].tolist() if len(kept.numbers) else ():
        now = narrow(draw(config.seed, index).values(), draw.precision)
        if digest_instance(now) != drawn[index].tobytes():
            return f"instance {index} is now drawn otherwise"
    before = kept.config
    if before.count != config.count or {*before.mesh.grids} != {*config.mesh.grids}:
        return None
    if before.ood != config.ood:
        return None
    if any(getattr(before, key) != getattr(config, key) for key in ORDER):
        return "its order was another"
    if before.storage != config.storage:
        return "it was stored otherwise"
    return None if kept.is_of_code("sort", "solve") else "the code has changed since it was made"


def keep(
    kept: Kept, drawn: NDArray[np.uint8], order: Path, earlier: Path, config: DatasetConfig
) -> Keeping | None:
    """Return what `order.h5` says of kept instances; None if they are now drawn otherwise.

    The earlier dataset gets its second name.

    Args:
        kept: The instances.
        drawn: The digests of all instances of the new dataset.
        order: The `order.h5` that will be made.
        earlier: The earlier dataset.
        config: The new dataset.
    """
    differing = np.flatnonzero((kept.drawn() != drawn[: kept.count]).any(axis=1))
    if len(differing):
        _say_why(kept.path, f"instance {differing[0]} is now drawn otherwise")
        return None
    logger.info("%d instances are kept of %s", kept.count, kept.path)
    _hold(kept.path, order)
    grids = [points for points in config.mesh.grids if points in kept.grids]
    digests = {files.kept(points): kept.digests(points) for points in (None, *grids)}
    runs = kept.runs(config)
    earlier_runs = dump_earlier(runs) if runs else None
    return Keeping(kept.count, digests, earlier_runs, os.path.relpath(earlier, order.parent))


def keep_last(
    permutation: NDArray[np.int64], bounds: NDArray[np.int64], kept: int
) -> NDArray[np.int64]:
    """Return the order in which each chunk has the instances that it solves before those it keeps.

    Args:
        permutation: Numbers of all instances in their order.
        bounds: Where in it each chunk begins, and the end.
        kept: How many instances are kept: those with the smallest numbers.
    """
    chunks = np.split(permutation, bounds[1:-1])
    return np.concatenate([chunk[np.argsort(chunk < kept, kind="stable")] for chunk in chunks])


def _say_why(path: Path, why: str) -> None:
    logger.warning("all instances are drawn and solved, none is kept of %s: %s", path, why)


def _hold(path: Path, order: Path) -> None:
    """Give an earlier dataset its second name."""
    link = order.with_name(LINK)
    if path == link:
        return
    # Without links in the file system it is read under the name that it has.
    with suppress(OSError):
        link.unlink(missing_ok=True)
        os.link(path, link)


def release(order: Path) -> None:
    """Remove the second name, once the new dataset has its own."""
    with suppress(OSError):
        order.with_name(LINK).unlink(missing_ok=True)


@contextmanager
def open_kept(order: StagedFile, config: DatasetConfig, family: Family) -> Iterator[Kept | None]:
    """Open the dataset whose instances are kept; None if none are, or its solver was another.

    Raises:
        DataError: It is gone, or no longer has what the order keeps.
    """
    if files.kept(None) not in order:
        yield None
        return
    names = [order.path.with_name(LINK), order.path.parent / str(order.attrs[files.SOURCE])]
    path = next((path for path in names if path.exists()), names[-1])
    count = order.length(files.kept(None))
    again = f"remove {order.path} to draw, sort and solve them again"
    if not path.exists():
        raise DataError(f"{path}, of which {count} instances are kept, is gone: {again}")
    with Kept(path, family, count) as kept:
        why = kept.why_not(config)
        if why is not None:
            logger.warning("all instances are solved, none is kept of %s: %s", path, why)
            yield None
            return
        if kept.count < count or any(
            not np.array_equal(kept.digests(points), order.array(files.kept(points)))
            for points in kept_grids(order, config)
        ):
            raise DataError(
                f"{path} no longer has the {count} instances that {order.path} keeps: {again}"
            )
        yield kept


def kept_grids(order: StagedFile, config: DatasetConfig) -> list[GridPoints | None]:
    """Return the grids of which kept instances have digests, None for the dataset's own."""
    return [points for points in (None, *config.mesh.grids) if files.kept(points) in order]
