# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the verification of a chunk leaves: the seal of the file that passed, and its statistics."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError


@dataclass(frozen=True)
class Verified:
    """A chunk that passed all checks.

    Attributes:
        seal: The digest of everything in its file.
        checksums: The digest of the checksums of its rows, which are merged without being read.
        instances: Number of its instances.
        kept: Number of those that are kept from an earlier dataset and passed the checks there.
            Here their digests were compared.
        checks: Names of the checks that they passed.
        residual_max: Largest true relative residual, recomputed.
        splits: The fractions that the configuration had, which decide the training split.
        moments: By name of a parameter or field, those of its values in the domain, over the
            instances of the training split.
        refinement: By number of an instance that was solved on a refined mesh, the distance of each
            field.
    """

    seal: str
    checksums: str
    instances: int
    kept: int
    checks: tuple[str, ...]
    residual_max: float
    splits: Mapping[str, float]
    moments: Mapping[str, Moments]
    refinement: Mapping[int, Mapping[str, float]]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_text_whole(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            DataError: The file is missing, or is not one of `kryloset verify`.
        """
        try:
            tree = json.loads(path.read_text())
            moments = {name: Moments(**numbers) for name, numbers in tree["moments"].items()}
            refinement = {int(number): errors for number, errors in tree["refinement"].items()}
            read = {"checks": tuple(tree["checks"]), "moments": moments, "refinement": refinement}
            return cls(**tree | read)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a file of `kryloset verify`: {error}; verify the chunk again"
            ) from None
