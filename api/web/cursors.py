"""Where a list goes on, in the address of a page."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from pydantic import AfterValidator, Field

from api.pages import bad_cursor


def as_id(text: str) -> UUID | None:
    """The id in a query; None when it is empty. Raises `ApiError` (422)."""
    try:
        return UUID(text) if text else None
    except ValueError:
        raise bad_cursor() from None


def given(**values: object) -> str:
    """A query of those values that are not empty."""
    return urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})


Cursor = Annotated[str, Field(max_length=40), AfterValidator(str.strip)]
