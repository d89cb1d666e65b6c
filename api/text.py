"""Text fields as Postgres can keep them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _printable(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        # JSON can escape half of a surrogate pair, which is no character and has no UTF-8 form.
        raise ValueError("must not contain lone surrogates")
    return value


Printable = Annotated[str, AfterValidator(_printable)]
Name = Annotated[Printable, Field(min_length=1, max_length=200)]
