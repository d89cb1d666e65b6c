"""What a claimed row carries: who works on it, until when, and in which attempt."""

from __future__ import annotations

import uuid

from sqlalchemy import SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import MaybeJson, Moment


class Leased:
    """Columns of a row that one attempt at a time may work on. `request_id` names the request that made it, for logs.

    `not_before` is when a row that was handed back may be tried again, `setbacks` how often in a row it was put off.

    A claim sets a fresh `lease_token`; every later write of that attempt is conditional on it (fencing token), so a
    worker that lost its lease can no longer change anything.
    """

    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_token: Mapped[uuid.UUID | None]
    lease_expires_at: Mapped[Moment | None]
    worker: Mapped[str | None]
    dispatched_at: Mapped[Moment | None]
    error: Mapped[MaybeJson | None]
    not_before: Mapped[Moment | None]
    setbacks: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    request_id: Mapped[str | None] = mapped_column(String(64))
