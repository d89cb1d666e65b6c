"""Requests made up from the OpenAPI document, valid and not, with the answers checked against it.

Every request must be answered in time, never with a 5xx but the documented 503 and 507, and always with a status, a
content type, headers and a body that the document knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case as AnyCase
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

schemathesis.serializer.alias(["application/offset+octet-stream"], "application/octet-stream")

Case = AnyCase[Any]

SECONDS: Final = 10
"""An answer that takes longer counts as a hang."""
CHECKS: Final[list[CheckFunction]] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_DOCUMENTED: Final = {503, 507}
# What the framework and the server answer before an operation is reached; no operation documents it.
_BEFORE_THE_OPERATION: Final = {400, 404, 405}


@dataclass
class Tally:
    """What was sent and answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500 and status not in _DOCUMENTED)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.statuses + other.statuses, self.operations + other.operations)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "server_errors": self.server_errors,
            "statuses": dict(sorted(self.statuses.items())),
            "operations": dict(sorted(self.operations.items())),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `as_json` gave; nothing where it is not in there."""
        statuses = {int(status): count for status, count in told.get("statuses", {}).items()}
        return cls(Counter(statuses), Counter(told.get("operations", {})))

    def __str__(self) -> str:
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.requests} requests to {len(self.operations)} operations, {self.server_errors} answered with 5xx"
            f" ({answers})"
        )


class Fuzzer:
    """Sends requests to a running service. `key` gives a working key; asked again when one is refused."""

    def __init__(self, url: str, key: Callable[[], str], tally: Tally | None = None) -> None:
        self.tally = Tally() if tally is None else tally
        self._url = url
        self._make_key = key
        self._key = key()
        self.schema = schemathesis.openapi.from_url(f"{url}/openapi.json")

    def each_operation(
        self, names: Callable[[str], Mapping[str, Any]], *, examples: int, seed_value: int
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """For every operation its label and a test of it.

        `names` gives values for a path template's parameters; most requests use them, so that they reach what exists.
        """
        operations = [found.ok() for found in self.schema.get_all_operations() if isinstance(found, Ok)]
        # What deletes comes last, so that the others find something.
        for operation in sorted(operations, key=lambda operation: operation.method.upper() == "DELETE"):
            known = dict(names(operation.path))
            strategies: list[st.SearchStrategy[Case]] = []
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                strategies.append(operation.as_strategy(generation_mode=mode))
                if known:
                    strategies.append(operation.as_strategy(generation_mode=mode, path_parameters=known))

            @seed(seed_value)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                verbosity=Verbosity.quiet,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(strategies))
            def fuzz(case: Case) -> None:
                self.send(case)

            yield operation.label, fuzz

    def send(self, case: Case) -> Response:
        """Send one request and check its answer."""
        case.headers = CaseInsensitiveDict(case.headers or {})
        case.headers["Authorization"] = f"Bearer {self._key}"
        response = case.call(base_url=self._url, timeout=SECONDS)
        if response.status_code == 401:
            self._key = self._make_key()  # It deleted itself.
        self.tally.statuses[response.status_code] += 1
        self.tally.operations[case.operation.label] += 1
        if response.status_code in _BEFORE_THE_OPERATION and _was_refused_before(response):
            return response
        assert response.status_code < 500 or response.status_code in _DOCUMENTED, (
            f"{response.status_code} from {case.as_curl_command()}: {response.text[:500]}"
        )
        case.validate_response(response, checks=CHECKS)
        return response


def _was_refused_before(response: Response) -> bool:
    """Whether the request was refused before any operation saw it: it is no HTTP, or names no address."""
    if response.content in (b"", b"Invalid HTTP request received."):
        return True
    if response.headers.get("content-type", [""])[0] != "application/problem+json":
        return False
    return response.json()["code"] in ("route_not_found", "method_not_allowed", "malformed_request")
