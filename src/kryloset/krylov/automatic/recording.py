# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A recorded selection: which strategy solved which system."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from kryloset.errors import KrylosetError
from kryloset.krylov.solver import SequenceSolver


@dataclass(frozen=True)
class Recording:
    """Which strategy solved which system: all that a replay of the sequence needs.

    Attributes:
        strategies: the strategies that were used. If one reuses a preconditioner, its `refresh`
            lists the systems at which it made a new one.
        choices: for each system, the number of its strategy.
    """

    strategies: tuple[SequenceSolver, ...]
    choices: tuple[int, ...]

    def to_json(self) -> str:
        """Return the recording as text."""
        return json.dumps(
            {
                "ways": [write_strategy(strategy) for strategy in self.strategies],
                "choices": list(self.choices),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KrylosetError: if the text is not a recorded selection.
        """
        try:
            read = json.loads(text)
            strategies = tuple(read_strategy(strategy) for strategy in read["ways"])
            choices = tuple(range(len(strategies))[int(choice)] for choice in read["choices"])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise KrylosetError(
                f"this is not a recorded selection of strategies ({error}): use a file that a run "
                "with automatic selection wrote"
            ) from error
        return cls(strategies, choices)


def write_strategy(strategy: SequenceSolver) -> dict[str, Any]:
    """Return the settings of a strategy for JSON, PETSc's options and lanes if there are any."""
    fields = asdict(strategy)
    if not strategy.petsc_options:
        del fields["petsc_options"]
    if strategy.lanes == 1:
        del fields["lanes"]
    return fields


def read_strategy(fields: dict[str, Any]) -> SequenceSolver:
    """Return the strategy that `write_strategy` was called on."""
    refresh = fields["refresh"]
    refresh = tuple(refresh) if isinstance(refresh, list) else refresh
    return SequenceSolver().change(**{**fields, "refresh": refresh})
