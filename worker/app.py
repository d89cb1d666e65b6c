"""The Celery application: `celery -A worker.app worker -P threads -Q jobs`, and `-Q intake`, `-Q control` beside it.

A task is a delivery of an id and nothing more; what becomes of it is in `supervisor`, `validation`, `verifying` and
`sweeper`.
Postgres decides whether a delivery still means anything, so tasks are acknowledged as they are taken and Celery never
retries one. This process never loads torch.
"""

from __future__ import annotations

import logging
import uuid
from functools import lru_cache
from typing import Any

from celery import Celery, signals
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from persistence.dispatch import (
    QUEUE_CONTROL,
    QUEUE_JOBS,
    TASK_CHECK_CHECKPOINT,
    TASK_CHECK_DATASET,
    TASK_DELIVER,
    TASK_RUN_JOB,
    TASK_SWEEP,
    TASK_VERIFY_UPLOAD,
    broker_app,
)
from persistence.logging import configure_logging
from persistence.settings import get_settings
from worker.context import Context, make_context
from worker.devices import find_devices
from worker.lifeline import die_with_parent
from worker.supervisor import run_job
from worker.sweeper import collect, sweep, tidy
from worker.validation import run_check
from worker.webhooks.delivering import deliver

_TIDY_SECONDS = 300.0
_COLLECT_SECONDS = 6 * 3600.0


@lru_cache(maxsize=1)
def context() -> Context:
    """This process's connections, devices and folders."""
    return make_context(get_settings())


def deliver_job(job_id: str) -> None:
    """A job's id arrived."""
    run_job(context(), uuid.UUID(job_id))


def deliver_dataset(dataset_id: str) -> None:
    """A data set's id arrived."""
    run_check(context(), uuid.UUID(dataset_id))


def deliver_checkpoint(checkpoint_id: str) -> None:
    """A checkpoint's id arrived."""
    run_check(context(), uuid.UUID(checkpoint_id))


def deliver_upload(upload_id: str) -> None:
    """An upload's id arrived."""
    run_check(context(), uuid.UUID(upload_id))


def deliver_sweep(thorough: bool = False, everything: bool = False) -> None:
    """It is time to sweep."""
    sweep(context(), queue_length)
    if thorough:
        tidy(context())
    if everything:
        collect(context())


def deliver_webhooks() -> None:
    """It is time to tell webhooks what happened."""
    deliver(context())


def queue_length(queue: str) -> int:
    """How many messages wait in a queue of the broker. Raises `ConnectionError` while the broker is away."""
    try:
        with app.connection_for_read() as connection:
            return int(connection.default_channel.client.llen(queue))
    except (KombuError, RedisError) as error:
        raise ConnectionError(f"the broker does not answer: {error}") from error


def make_app() -> Celery:
    """The broker's application with the worker's configuration, tasks and schedule."""
    settings = get_settings()
    made = broker_app(settings)
    often, seldom = settings.sweep_seconds, max(_TIDY_SECONDS, settings.sweep_seconds)
    made.conf.update(
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # What a busy worker has not begun stays where another one can take it.
        worker_concurrency=len(find_devices(settings.devices)),
        worker_redirect_stdouts=False,
        broker_connection_max_retries=None,
        beat_scheduler="celery.beat:Scheduler",  # Intervals only: nothing to remember in a file between two starts.
        beat_schedule={
            "sweep": _scheduled(often),
            "webhooks": _scheduled(often, task=TASK_DELIVER),
            "tidy": _scheduled(seldom, thorough=True),
            "collect": _scheduled(max(_COLLECT_SECONDS, seldom), everything=True),
        },
    )
    made.task(name=TASK_RUN_JOB)(deliver_job)
    made.task(name=TASK_CHECK_DATASET)(deliver_dataset)
    made.task(name=TASK_CHECK_CHECKPOINT)(deliver_checkpoint)
    made.task(name=TASK_VERIFY_UPLOAD)(deliver_upload)
    made.task(name=TASK_SWEEP)(deliver_sweep)
    made.task(name=TASK_DELIVER)(deliver_webhooks)
    return made


def _scheduled(seconds: float, task: str = TASK_SWEEP, **arguments: bool) -> dict[str, Any]:
    # A sweep that nobody ran in time is worthless: the next one does its work.
    return {
        "task": task,
        "schedule": seconds,
        "kwargs": arguments,
        "options": {"queue": QUEUE_CONTROL, "expires": max(2 * seconds, 10.0)},
    }


def _set_up_logging(**_: Any) -> None:
    configure_logging(get_settings())
    # A line per message would drown ours in sweeps.
    for noisy in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _start(**_: Any) -> None:
    context().work.sweep()
    context().cache.sweep()


def _prepare(sender: Any, **_: Any) -> None:
    if QUEUE_JOBS not in sender.app.amqp.queues.consume_from:
        return
    for device in context().devices.devices:
        context().trainers.prepare(device)


def _stop(**_: Any) -> None:
    context().stopping.set()
    context().trainers.close()


def _tie_beat_to_the_worker(**_: Any) -> None:
    die_with_parent()


signals.setup_logging.connect(_set_up_logging)
signals.worker_init.connect(_start)
signals.worker_ready.connect(_prepare)
signals.worker_shutting_down.connect(_stop)
signals.beat_embedded_init.connect(_tie_beat_to_the_worker)

app = make_app()
