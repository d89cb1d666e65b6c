"""Log lines of every process: JSON for machines, colours for a terminal, and never a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from persistence.settings import Settings

_SECRET_NAMES: Final = frozenset(
    {"authorization", "password", "secret", "api_key", "cookie", "database_url", "redis_url", "token", "csrf_token"}
)
_SECRET_TEXT: Final = re.compile(
    r"mt_[A-Za-z0-9_-]{20,}|whsec_[A-Za-z0-9+/=_-]{16,}|(?<=[?&]token=)[^&\s\"]+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
"""The secret of an API key or a webhook, a login link's token, or the user and password of a URL."""
_HIDDEN: Final = "[hidden]"


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
        *((structlog.processors.format_exc_info,) if as_json else ()),
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
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
    """A structlog processor: values under telling names, and secrets inside any text, become `[hidden]`."""
    for name, value in event.items():
        if name.lower() in _SECRET_NAMES:
            event[name] = _HIDDEN
        elif isinstance(value, str):
            event[name] = _SECRET_TEXT.sub(_HIDDEN, value)
    return event
