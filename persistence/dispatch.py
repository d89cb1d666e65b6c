"""Handing work to the broker.

A message carries only an id. Redis may lose it: the row in Postgres says that there is work, and the sweeper sends it
again. So sending gives up fast, and never fails the caller.
"""

from __future__ import annotations

import uuid
from typing import Any, Final, Literal

import structlog
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from persistence.settings import Settings

TASK_RUN_JOB: Final = "masktune.run_job"
TASK_CHECK_DATASET: Final = "masktune.check_dataset"
TASK_CHECK_CHECKPOINT: Final = "masktune.check_checkpoint"
TASK_VERIFY_UPLOAD: Final = "masktune.verify_upload"
TASK_SWEEP: Final = "masktune.sweep"
TASK_DELIVER: Final = "masktune.deliver_webhooks"

QUEUE_JOBS: Final = "jobs"
QUEUE_INTAKE: Final = "intake"
QUEUE_CONTROL: Final = "control"

Kind = Literal["job", "dataset", "checkpoint", "upload"]
_ROUTES: Final[dict[Kind, tuple[str, str]]] = {
    "job": (TASK_RUN_JOB, QUEUE_JOBS),
    "dataset": (TASK_CHECK_DATASET, QUEUE_INTAKE),
    "checkpoint": (TASK_CHECK_CHECKPOINT, QUEUE_INTAKE),
    "upload": (TASK_VERIFY_UPLOAD, QUEUE_INTAKE),
}
_SEND_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


def broker_app(settings: Settings, **transport_options: Any) -> Celery:
    """A Celery application over the settings' Redis: JSON only, no results, no retries on top of ours.

    `redis_url` is in Celery's form: `redis://host:port/0`, `rediss://…`, or `redis+socket:///path` for a unix socket.
    """
    app = Celery("masktune", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_create_missing_queues=True,
        task_default_queue=QUEUE_CONTROL,
        task_routes={
            **{task: {"queue": queue} for task, queue in _ROUTES.values()},
            TASK_SWEEP: {"queue": QUEUE_CONTROL},
            TASK_DELIVER: {"queue": QUEUE_CONTROL},
        },
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_connect_timeout": 2.0, "socket_timeout": 10.0, **transport_options},
    )
    return app


class Dispatcher:
    """Sends work to the queues. One a process; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._app = broker_app(
            settings,
            socket_connect_timeout=_SEND_SECONDS,
            socket_timeout=_SEND_SECONDS,
            # Zero means for ever to kombu.
            max_retries=1,
            interval_start=0.0,
            interval_step=0.0,
            interval_max=0.0,
        )
        self._app.conf.broker_connection_timeout = _SEND_SECONDS

    def send(self, kind: Kind, ident: uuid.UUID) -> bool:
        """Queue the row's task. False, logged, when Redis does not take it within about two seconds."""
        task, queue = _ROUTES[kind]
        try:
            self._app.send_task(task, args=[str(ident)], queue=queue, retry=False)
        except (OperationalError, KombuError, RedisError, OSError) as error:
            _log.warning("dispatch_failed", kind=kind, id=str(ident), error=f"{type(error).__name__}: {error}")
            return False
        return True

    def ping(self) -> bool:
        """Whether Redis can be reached within about a second; for readiness checks."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0.0, timeout=_SEND_SECONDS)
        except (OperationalError, KombuError, RedisError, OSError):
            return False
        return True
