"""Every kind of event that anything appends is one that clients and webhooks are told of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from persistence.event_types import LAST_TYPES, EventType

ROOT = Path(__file__).parents[2]


def test_what_the_code_appends_is_what_is_declared() -> None:
    appended = {
        name
        for folder in ("persistence", "worker")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "event_types.py"
        for name in re.findall(r'"(job\.[a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    declared = set(get_args(EventType))
    dynamic = {f"job.{status}" for status in ("succeeded", "failed", "cancelled", "queued", "paused")}
    assert appended <= declared
    assert declared - appended <= dynamic
    assert declared >= LAST_TYPES
