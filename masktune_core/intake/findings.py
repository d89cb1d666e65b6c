"""Collects what intake finds: the first problems in full, the number of all."""

from __future__ import annotations

from typing import Final, Literal

from masktune_core.errors import ArchiveError, Problem

LISTED: Final = 100


class Findings:
    """Errors are listed one by one; conversions and warnings of one kind become one line with a count."""

    def __init__(self) -> None:
        self._errors: list[Problem] = []
        self._error_count = 0
        self._kinds: dict[tuple[Literal["converted", "warning"], str], tuple[str, str, int]] = {}

    def error(self, code: str, where: str, message: str) -> None:
        """Note one thing that makes the archive unusable."""
        self._error_count += 1
        if len(self._errors) < LISTED:
            self._errors.append(Problem(code, where, message))

    def converted(self, code: str, where: str, what: str) -> None:
        """Note an image that was changed to 8-bit RGB; `what` completes "37 images: …"."""
        self._count("converted", code, where, what)

    def warning(self, code: str, where: str, what: str) -> None:
        """Note something left aside; `what` completes "37 files: …"."""
        self._count("warning", code, where, what)

    def fatal(self, code: str, where: str, message: str) -> ArchiveError:
        """The error to raise where nothing further can be looked at; carries what was found before."""
        self.error(code, where, message)
        return self.as_error()

    def as_error(self) -> ArchiveError:
        """The error that carries all errors found so far."""
        return ArchiveError(self._errors, self._error_count)

    @property
    def failed(self) -> bool:
        """Whether any error was found."""
        return self._error_count > 0

    def remarks(self) -> tuple[Problem, ...]:
        """Conversions and warnings, one line per kind, naming the first file each."""
        return tuple(
            Problem(code, where, f"{count} {'image' if count == 1 else 'images'}: {what}", severity)
            if severity == "converted"
            else Problem(code, where, f"{what} ({count})" if count > 1 else what, severity)
            for (severity, code), (where, what, count) in sorted(self._kinds.items())
        )

    def _count(self, severity: Literal["converted", "warning"], code: str, where: str, what: str) -> None:
        first, text, count = self._kinds.get((severity, code), (where, what, 0))
        self._kinds[severity, code] = (first, text, count + 1)
