"""Names inside an archive: made comparable, or refused. They are only ever keys, never paths on disk."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LONGEST: Final = 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_JUNK_FOLDERS: Final = ("__MACOSX",)
_JUNK_FILES: Final = ("thumbs.db", "desktop.ini")


class UnsafeNameError(ValueError):
    """A member name that points outside the archive, or cannot be written down."""


def clean_name(raw: str) -> str:
    """The name with forward slashes, no empty or "." parts, in Unicode normal form C, so that table and file match.

    Raises `UnsafeNameError` for absolute names, "..", drives, control characters, undecodable bytes, overlong names.
    """
    name = raw.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name):
        raise UnsafeNameError("is an absolute path")
    if _CONTROL.search(name):
        raise UnsafeNameError("contains control characters")
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise UnsafeNameError("is not valid text") from error
    if length > LONGEST:
        raise UnsafeNameError(f"is longer than {LONGEST} bytes")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeNameError('contains ".."')
    if not parts:
        raise UnsafeNameError("is empty")
    joined = "/".join(parts)
    # The same object where nothing changed: with millions of names, a copy of each counts.
    return unicodedata.normalize("NFC", raw if joined == raw else joined)


def collision_key(name: str) -> str:
    """Equal for names that some file system would take for one another."""
    return unicodedata.normalize("NFC", name.casefold())


def is_junk(name: str) -> bool:
    """Whether an operating system put this file there, not the user."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] in _JUNK_FOLDERS or parts[-1].lower() in _JUNK_FILES


def printable(raw: str) -> str:
    """`raw` as it may be shown in a message: cut, and with what cannot be shown escaped."""
    shown = raw.encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", shown)[:200]
