"""What the health checks answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["ok", "unavailable"]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always ok.", examples=["ok"])


class Ready(BaseModel):
    """What the process reaches."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ready", "checks": {"database": "ok", "store": "ok", "broker": "unavailable"}}]
        }
    )

    status: Literal["ready"] = Field(default="ready", description="Always ready; otherwise a problem comes.")
    checks: dict[str, State] = Field(
        description="database and store must be ok. The broker may be away: jobs wait until it is back."
    )
