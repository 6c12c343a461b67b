# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The part of a training's configuration that says how it learns while instances are solved."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kryloset.config.section import Section


class OnlineConfig(Section):
    """A training from chunks as they are solved (docs/how-to/online.md)."""

    buffer: Literal["balanced", "reservoir", "firo", "fifo"] = Field(
        "balanced",
        description="Where batches come from. balanced: random pairs, likelier the less often they "
        "were drawn; reservoir: random pairs, all alike; firo: each pair once, in random order; "
        "fifo: each pair once, as they come.",
    )
    capacity: int = Field(
        4096, ge=1, le=10**7, description="Most pairs in the buffer, which is in memory."
    )
    threshold: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Pairs in the buffer before the first step. null: a twentieth of the train "
        "split. The scaling is computed from the first twentieth, whatever this says.",
    )
    solvers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Processes that solve beside the training. null: as many as the job has "
        "threads, but one.",
    )
    store: bool = Field(
        True,
        description="Whether solutions are kept, so that the dataset is made without solving "
        "again. false: each chunk is removed once it is learnt from, and no dataset is made.",
    )

    @property
    def anywhere(self) -> "OnlineConfig":
        """The same training beside as many processes as are the default."""
        return self.model_copy(update={"solvers": type(self).model_fields["solvers"].default})

    @model_validator(mode="after")
    def _threshold_can_be_reached(self) -> "OnlineConfig":
        if self.threshold is not None and self.threshold > self.capacity:
            raise ValueError(
                f"threshold {self.threshold} is more than the {self.capacity} pairs that the "
                "buffer holds: lower it, or raise capacity"
            )
        return self
