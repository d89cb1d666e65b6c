"""What a key may do: `read` looks, `write` also changes, `admin` also manages keys and webhooks."""

from __future__ import annotations

from typing import Final, Literal

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")
"""Each may do what those before it may."""


def allows(held: str, needed: Scope) -> bool:
    """Whether a key of scope `held` may do what needs `needed`. A scope that nobody knows allows nothing."""
    return held in SCOPES and SCOPES.index(held) >= SCOPES.index(needed)
