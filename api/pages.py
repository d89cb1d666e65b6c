"""Cursor pages: `{"data": […], "has_more": true, "next": "…"}`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.errors import ApiError, invalid
from persistence.pages import Page

Item = TypeVar("Item")
Row = TypeVar("Row")

After = Annotated[
    str | None,
    Field(
        max_length=500,
        description="Cursor: the `next` of the page before. Leave it out for the first page.",
        examples=["01985f2e-7c1a-7b3e-9a41-2f6d8c0b5e77"],
    ),
]
Limit = Annotated[int, Field(ge=1, le=500, description="Most items a page.", examples=[50])]


class PageQuery(BaseModel):
    """Query of every list. An unknown parameter is an error, so that a misspelt filter cannot pass unnoticed."""

    model_config = ConfigDict(extra="forbid")

    after: After = None
    limit: Limit = 50

    @property
    def after_id(self) -> UUID | None:
        """The cursor of a list that is ordered by id."""
        if self.after is None:
            return None
        try:
            return UUID(self.after)
        except ValueError:
            raise bad_cursor() from None

    @property
    def after_index(self) -> int | None:
        """The cursor of a list that is ordered by number."""
        if self.after is None:
            return None
        if not (self.after.isascii() and self.after.isdecimal() and len(self.after) < 10):
            raise bad_cursor()
        return int(self.after)


class PageOf(BaseModel, Generic[Item]):
    """One page of a list."""

    # A parametrised generic loses its docstring in the schema.
    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})

    data: list[Item] = Field(description="The items.")
    has_more: bool = Field(description="Whether another page follows.", examples=[False])
    next: str | None = Field(default=None, description="Cursor for `after`; null on the last page.", examples=[None])


def page_of(page: Page[Row], read: Callable[[Row], Item]) -> PageOf[Item]:
    """A page of rows, each as `read` shows it."""
    return PageOf(
        data=[read(row) for row in page.rows],
        has_more=page.has_more,
        next=None if page.next is None else str(page.next),
    )


def bad_cursor() -> ApiError:
    """422 for an `after` that is not a `next` of this list."""
    detail = "not a cursor of this list: pass the 'next' of the page before, with the same filters and sort"
    return invalid("invalid_request", [{"location": "query", "name": "after", "code": "cursor", "detail": detail}])
