"""What an event looks like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from api.pages import Limit
from persistence.event_types import EventType


class EventRead(BaseModel):
    """One line of a job's log."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Number in the job's log, from 1 without gaps.", examples=[3])
    type: str = Field(
        description="What happened; more types may be added.",
        examples=["job.stage"],
        json_schema_extra={"x-known-values": list(get_args(EventType))},
    )
    attempt: int = Field(description="The attempt that logged it; 0 before the first.", examples=[1])
    data: dict[str, Any] = Field(
        description="Particulars, by type.", examples=[{"stage": "training_erm", "iteration": 0}]
    )
    created_at: datetime = Field(description="When.", examples=["2026-01-31T12:00:00Z"])


Seq = Annotated[int, Field(ge=0, le=2**31 - 1)]


class EventQuery(BaseModel):
    """Query of the log."""

    model_config = ConfigDict(extra="forbid")

    after: Seq = Field(default=0, description="Only events with a larger number.", examples=[0])
    limit: Limit = 100
