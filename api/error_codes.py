"""The page about error codes, from the catalogue: `python -m api.error_codes > docs/error-codes.md`."""

from __future__ import annotations

import sys
from itertools import groupby
from operator import attrgetter
from typing import Final

from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from persistence.advice import ADVICE

_HEAD: Final = f"""\
# Error codes

Every answer of 400 and above is `{MEDIA_TYPE}` (RFC 9457). Programs branch on `code`, which never changes its meaning;
`detail` says what happened this time, and is for people. `request_id` names the request in the logs of the API, the
worker and the trainer; it is also in the `X-Request-ID` header. `type` is `{TYPE_PREFIX}` and the code.

Only what is not HTTP at all is refused by the server itself, with a plain 400.

This page is made from `api/problems.py` and `persistence/advice.py`, by
`python -m api.error_codes > docs/error-codes.md`; a test compares them.
"""

_JOBS: Final = """\
## In the `error` of a job

A job that failed, or whose attempt was given up, says why in its `error`: `code`, `message`, `stage`, `retryable`, the
last lines of the `log`, and as `advice` what stands here.

| code | advice |
|---|---|
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for status, problems in groupby(sorted(PROBLEMS.values(), key=attrgetter("status", "code")), attrgetter("status")):
        rows = [f"| `{problem.code}` | {problem.title} | {_cell(problem.example)} |" for problem in problems]
        parts.append(
            "\n".join([f"## {status}", "", "| code | title | an example of `detail` |", "|---|---|---|", *rows])
        )
    parts.append(_JOBS + "\n".join(f"| `{code}` | {_cell(advice)} |" for code, advice in sorted(ADVICE.items())))
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
