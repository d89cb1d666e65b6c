"""What a key looks like. Its secret is shown once, when it is made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.text import Printable
from persistence.api_keys import LONGEST_LIFE
from persistence.scopes import Scope

MOST_GRACE_SECONDS = 30 * 86400


def _to_come(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise ValueError("must be in the future")
    if moment > datetime.now(UTC) + LONGEST_LIFE:
        raise ValueError(
            f"must be within {LONGEST_LIFE.days} days from now: leave it out for a key that works until it is revoked"
        )
    return moment


class KeyCreate(BaseModel):
    """Make a key."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "Dashboard", "scope": "read"},
                {"name": "Nightly run", "scope": "write", "expires_at": "2036-01-01T00:00:00Z"},
            ]
        },
    )

    name: Annotated[Printable, Field(min_length=1, max_length=100)] = Field(
        description="What the key is for.", examples=["Nightly run"]
    )
    scope: Scope = Field(
        default="write",
        description="`read` looks, `write` also changes, `admin` also manages keys and webhooks.",
        examples=["write"],
    )
    expires_at: Annotated[AwareDatetime, AfterValidator(_to_come)] | None = Field(
        default=None,
        description=f"From then on the key is refused; at most {LONGEST_LIFE.days} days from now. Null: it works until "
        "it is revoked.",
        examples=["2036-01-01T00:00:00Z"],
    )


class KeyRotate(BaseModel):
    """How to rotate a key."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"grace_seconds": 3600}]})

    grace_seconds: int = Field(
        default=86400,
        ge=0,
        le=MOST_GRACE_SECONDS,
        description="How long the old key still works, in seconds.",
        examples=[3600],
    )


class KeyRead(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The key's id.", examples=[EXAMPLE_ID])
    name: str = Field(description="What the key is for.", examples=["Nightly run"])
    prefix: str = Field(description="How the secret begins, to recognise it by.", examples=["mt_x8Fq2"])
    scope: Scope = Field(description="What the key may do.", examples=["write"])
    created_at: datetime = Field(description="When it was made.", examples=["2026-01-02T03:04:05Z"])
    last_used_at: datetime | None = Field(
        description="When it was last used, to the minute.", examples=["2026-01-03T03:04:05Z"]
    )
    expires_at: datetime | None = Field(description="From then on it is refused.", examples=[None])
    revoked_at: datetime | None = Field(description="When it was revoked.", examples=[None])
    replaced_by: UUID | None = Field(description="The key that rotation made of it.", examples=[None])


class KeyMade(KeyRead):
    """A new key with its secret, which is never shown again."""

    key: str = Field(
        description="The secret, for `Authorization: Bearer`.",
        examples=["mt_x8Fq2dJ7-hB3vN0sKcT5yLwRzUaGmEoPiQ1fX9uYtVk"],
    )
