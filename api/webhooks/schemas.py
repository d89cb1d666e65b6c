"""What a webhook and a line of its log look like. Its secret is shown when it is made or rotated."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.text import Printable
from persistence.event_types import EventType
from persistence.webhook_targets import MOST_CHARACTERS
from persistence.webhooks import EVENT_TYPES

_ENDINGS: list[EventType] = ["job.cancelled", "job.failed", "job.succeeded"]

Url = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Events = Annotated[list[EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]
Description = Annotated[Printable, Field(max_length=200)]


class WebhookCreate(BaseModel):
    """Ask to be told of jobs' events."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"url": "https://example.com/masktune", "events": ["job.succeeded", "job.failed"]},
                {"url": "https://example.com/all", "description": "Every ending"},
            ]
        },
    )

    url: Url = Field(
        description="Where messages are posted: https, on the public internet.", examples=["https://example.com/hook"]
    )
    events: Events = Field(
        default=_ENDINGS, description="Types of events to be told of. Default: how jobs end.", examples=[_ENDINGS]
    )
    description: Description = Field(default="", description="For people.", examples=["Tells the team"])


class WebhookChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": False}]})

    url: Url | None = Field(default=None, description="Where messages are posted.", examples=["https://example.com/2"])
    events: Events | None = Field(default=None, description="Types of events.", examples=[_ENDINGS])
    description: Description | None = Field(default=None, description="For people.", examples=["Tells the team"])
    enabled: bool | None = Field(default=None, description="Whether messages are sent.", examples=[True])


class WebhookRead(BaseModel):
    """A webhook, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The webhook's id.", examples=[EXAMPLE_ID])
    url: str = Field(description="Where messages are posted.", examples=["https://example.com/hook"])
    events: list[str] = Field(description="Types of events that it is told of.", examples=[_ENDINGS])
    description: str = Field(description="For people.", examples=["Tells the team"])
    enabled: bool = Field(description="Whether messages are sent.", examples=[True])
    disabled_reason: str | None = Field(description="Why the service disabled it.", examples=[None])
    created_at: datetime = Field(description="When it was made.", examples=["2026-01-02T03:04:05Z"])


class WebhookMade(WebhookRead):
    """A webhook with the secret that verifies its messages; it is not shown again."""

    secret: str = Field(
        description="Verifies `webhook-signature` (Standard Webhooks).",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class DeliveryQuery(PageQuery):
    """Which lines of the log."""

    status: Literal["pending", "delivered", "failed"] | None = Field(
        default=None, description="Only these.", examples=["failed"]
    )


class DeliveryRead(BaseModel):
    """One message, and what became of it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The message's id; `webhook-id` is `msg_` and its digits.", examples=[EXAMPLE_ID])
    type: str = Field(description="Type of the event.", examples=["job.succeeded"])
    job_id: UUID | None = Field(description="The event's job.", examples=[EXAMPLE_ID])
    seq: int | None = Field(description="The event's number in its job.", examples=[17])
    status: str = Field(description="`pending` until it arrives; `failed` after the last try.", examples=["delivered"])
    attempts: int = Field(description="Tries so far.", examples=[1])
    next_attempt_at: datetime | None = Field(description="When it is tried next, if pending.", examples=[None])
    response_status: int | None = Field(description="Status of the last answer.", examples=[204])
    error: str | None = Field(description="Why the last try failed.", examples=[None])
    payload: dict[str, Any] = Field(
        description="The body that is sent.",
        examples=[{"type": "job.succeeded", "timestamp": "2026-01-02T03:04:05Z", "data": {"job_id": EXAMPLE_ID}}],
    )
    created_at: datetime = Field(description="When it was queued.", examples=["2026-01-02T03:04:05Z"])
    finished_at: datetime | None = Field(
        description="When it arrived or failed for good.", examples=["2026-01-02T03:04:06Z"]
    )
