"""The page about error codes, from the catalogue: `python -m api.error_codes > docs/error-codes.md`."""

from __future__ import annotations

import sys
from itertools import groupby
from operator import attrgetter
from typing import Final

from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX

_HEAD: Final = f"""\
# Error codes

Every answer of 400 and above is `{MEDIA_TYPE}` (RFC 9457). Programs branch on `code`, which never changes its meaning;
`detail` says what happened this time, and is for people. `request_id` names the request in the logs of the API, the
worker and the trainer; it is also in the `X-Request-ID` header. `type` is `{TYPE_PREFIX}` and the code.

Only what is not HTTP at all is refused by the server itself, with a plain 400.

This page is made from `api/problems.py` by `python -m api.error_codes > docs/error-codes.md`; a test compares them.
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for status, problems in groupby(sorted(PROBLEMS.values(), key=attrgetter("status", "code")), attrgetter("status")):
        rows = [f"| `{problem.code}` | {problem.title} | {_cell(problem.example)} |" for problem in problems]
        parts.append(
            "\n".join([f"## {status}", "", "| code | title | an example of `detail` |", "|---|---|---|", *rows])
        )
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
