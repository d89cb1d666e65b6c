"""Log lines of every process: JSON for machines, colours for a terminal, and never a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

from persistence.settings import Settings

_SECRET_NAMES: Final = frozenset(
    {
        "api_key",
        "authorization",
        "cookie",
        "csrf_token",
        "database_url",
        "password",
        "previous_secret",
        "redis_url",
        "secret",
        "set_cookie",
        "token",
        "x_csrf_token",
    }
)
"""In lower case, with _ for -: as our own names and as those of headers."""
_SECRET_TEXT: Final = re.compile(
    r"mt_[A-Za-z0-9_-]{20,}|whsec_[A-Za-z0-9+/=_-]{16,}|(?<=[?&]token=)[^&\s\"]+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
"""The secret of an API key or a webhook, a login link's token, or the user and password of a URL."""
_HIDDEN: Final = "[hidden]"
_DEEPEST: Final = 8


def configure_logging(settings: Settings, *, json: bool | None = None) -> None:
    """Send structlog's and the standard library's lines to stderr in one form.

    `json` None: JSON unless stderr is a terminal. Raises `ValueError` for an unknown `log_level`.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # As text, so that nothing in it escapes the next one.
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Not the console's own tracebacks: they show the values of all local variables.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer() if as_json else console
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in ("botocore", "boto3", "s3transfer", "urllib3", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values under telling names, and secrets inside any text, become `[hidden]`.

    Looks into dicts, lists, tuples and sets, and into what an exception says.
    """
    for name, value in event.items():
        event[name] = _hidden(name, value, depth=0)
    return event


def _hidden(name: object, value: Any, depth: int) -> Any:
    if isinstance(name, str) and name.lower().replace("-", "_") in _SECRET_NAMES:
        return _HIDDEN
    match value:
        case str() | bytes() | BaseException():
            return _text(value)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == _DEEPEST:
            return "…"
        case Mapping():
            return {
                _text(key) if isinstance(key, str) else key: _hidden(key, each, depth + 1)
                for key, each in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_hidden(None, each, depth + 1) for each in value]
        case _:
            return value


def _text(value: str | bytes | BaseException) -> str:
    return _SECRET_TEXT.sub(_HIDDEN, value if isinstance(value, str) else repr(value))
