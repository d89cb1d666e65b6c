"""Events reach the webhooks that asked for them, each once, and are tried again until they arrive."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from persistence import events, jobs, webhook_outbox, webhooks
from persistence.database import transaction
from persistence.errors import Conflict, NotFound
from persistence.tables import Event, Job, Webhook, WebhookDelivery
from tests.fixtures.records import job_in, make_job, make_tenant

URL = "https://example.com/hook"


def make_webhook(session: Session, tenant_id: uuid.UUID, *types: str) -> Webhook:
    return webhooks.create(session, tenant_id, url=URL, events=types or ("job.queued",))


def passed_on(session: Session) -> None:
    while webhook_outbox.pass_on(session, set()):
        pass


def log(session: Session, webhook: Webhook) -> list[WebhookDelivery]:
    return webhooks.deliveries_page(session, webhook).rows[::-1]


def due(session: Session) -> list[webhook_outbox.Due]:
    return webhook_outbox.claim_due(session, 100)


def later(session: Session, delivery_id: uuid.UUID, wait: timedelta) -> None:
    """As if so much time had passed for this message."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(next_attempt_at=WebhookDelivery.next_attempt_at - wait)
    )


@pytest.fixture
def tenant(session: Session) -> uuid.UUID:
    return make_tenant(session)


def test_an_event_becomes_a_message_to_each_webhook_that_asked_for_it(session: Session, tenant: uuid.UUID) -> None:
    asked, also, other = (make_webhook(session, tenant, *t) for t in (["job.queued"], ["job.queued"], ["job.failed"]))
    foreign = make_webhook(session, make_tenant(session))
    job = make_job(session, tenant)
    passed_on(session)
    assert [len(log(session, webhook)) for webhook in (asked, also, other, foreign)] == [1, 1, 0, 0]
    [message] = log(session, asked)
    assert (message.type, message.job_id, message.seq, message.status) == ("job.queued", job.id, 1, "pending")
    assert message.payload["type"] == "job.queued"
    assert message.payload["data"] == {"job_id": str(job.id), "seq": 1, "attempt": 0}


def test_no_event_is_passed_on_twice_and_none_is_missed(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant, "job.epoch")
    job = make_job(session, tenant)
    for number in range(5):
        events.append(session, job.id, "job.epoch", {"epoch": number})
        passed_on(session)
        webhook_outbox.pass_on_job(session, job.id)
    assert [message.payload["data"]["epoch"] for message in log(session, webhook)] == [0, 1, 2, 3, 4]


def test_a_cursor_that_was_lost_writes_no_message_twice(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    job = make_job(session, tenant)
    passed_on(session)
    session.execute(update(Job).where(Job.id == job.id).values(webhook_seq=0))
    passed_on(session)
    assert len(log(session, webhook)) == 1


def test_what_was_before_a_webhook_or_while_it_was_off_is_not_told(session: Session, tenant: uuid.UUID) -> None:
    job = make_job(session, tenant)
    session.execute(update(Job).where(Job.id == job.id).values(webhook_seq=0))
    webhook = make_webhook(session, tenant, "job.queued", "job.epoch")
    webhook.created_at += timedelta(seconds=1)
    session.flush()
    passed_on(session)
    assert log(session, webhook) == []
    webhook.created_at -= timedelta(hours=1)
    webhooks.change(session, tenant, webhook.id, {"enabled": False})
    events.append(session, job.id, "job.epoch", {})
    passed_on(session)
    assert log(session, webhook) == []


def test_a_jobs_last_events_are_told_though_it_is_deleted(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant, "job.cancelled")
    job, _ = job_in(session, "cancelled", tenant_id=tenant)
    jobs.delete(session, tenant, job.id)
    assert [message.type for message in log(session, webhook)] == ["job.cancelled"]


def long_log(session: Session, tenant_id: uuid.UUID) -> uuid.UUID:
    """A finished job with so many events that one statement for all messages would be too long for PostgreSQL."""
    job, _ = job_in(session, "cancelled", tenant_id=tenant_id)
    first, more = events.last(session, job.id) + 1, 65_535 // 7 // webhooks.MOST_A_TENANT + 1
    rows = [
        {"job_id": job.id, "seq": seq, "attempt": 1, "type": "job.epoch", "data": {"epoch": seq}}
        for seq in range(first, first + more)
    ]
    session.execute(insert(Event), rows)
    session.execute(update(Job).where(Job.id == job.id).values(event_seq=first + more - 1))
    return job.id


def epochs_told(session: Session, webhook: Webhook) -> list[int | None]:
    told = select(WebhookDelivery.seq).where(
        WebhookDelivery.webhook_id == webhook.id, WebhookDelivery.type == "job.epoch"
    )
    return list(session.scalars(told.order_by(WebhookDelivery.seq)))


@pytest.mark.parametrize("deleted", [False, True])
def test_a_long_log_is_told_to_every_webhook(session: Session, tenant: uuid.UUID, deleted: bool) -> None:
    hooks = [make_webhook(session, tenant, "job.epoch") for _ in range(webhooks.MOST_A_TENANT)]
    job_id = long_log(session, tenant)
    epochs = list(session.scalars(select(Event.seq).where(Event.job_id == job_id, Event.type == "job.epoch")))
    if deleted:
        jobs.delete(session, tenant, job_id)
    else:
        passed_on(session)
    assert len(epochs) * len(hooks) * 7 > 65_535
    assert [epochs_told(session, hook) for hook in hooks] == [sorted(epochs)] * len(hooks)


def test_a_long_log_is_passed_on_in_steps_between_which_others_have_their_turn(
    session: Session, tenant: uuid.UUID
) -> None:
    webhook = make_webhook(session, tenant, "job.queued", "job.epoch")
    long_log(session, tenant)
    job = make_job(session, tenant)
    webhook_outbox.pass_on(session, set())
    assert job.id in {message.job_id for message in log(session, webhook)}
    told = epochs_told(session, webhook)
    webhook_outbox.pass_on(session, set())
    assert 0 < len(told) < len(epochs_told(session, webhook))


def test_a_job_whose_messages_cannot_be_written_holds_up_no_other(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = make_webhook(session, tenant_id)
        bad, good = make_job(session, tenant_id), make_job(session, tenant_id)
        session.execute(text(f"ALTER TABLE webhook_deliveries ADD CHECK (job_id <> '{bad.id}')"))
    set_aside: set[uuid.UUID] = set()
    with transaction(sessions) as session:
        while webhook_outbox.pass_on(session, set_aside):
            pass
    with transaction(sessions) as session:
        assert [message.job_id for message in log(session, webhook)] == [good.id]
    assert set_aside == {bad.id}


def test_two_processes_pass_on_each_event_once(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant_id = make_tenant(session)
        webhook = make_webhook(session, tenant_id)
        make_job(session, tenant_id)
    with transaction(sessions) as one, transaction(sessions) as two:
        assert webhook_outbox.pass_on(one, set()) == 1
        assert webhook_outbox.pass_on(two, set()) == 0
    with transaction(sessions) as one, transaction(sessions) as two:
        assert len(due(one)) == 1
        assert due(two) == []
    with transaction(sessions) as session:
        assert due(session) == []
        assert len(log(session, webhook)) == 1


def test_a_message_whose_sender_died_is_sent_again(session: Session, tenant: uuid.UUID) -> None:
    message = webhooks.send_test(session, tenant, make_webhook(session, tenant).id)
    assert [d.id for d in due(session)] == [message.id]
    assert due(session) == []
    later(session, message.id, timedelta(minutes=1))
    [again] = due(session)
    assert (again.id, again.attempt) == (message.id, 2)


def test_a_message_is_tried_at_growing_intervals_then_it_failed(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    message = webhooks.send_test(session, tenant, webhook.id)
    waits = []
    for _ in range(len(webhook_outbox.RETRY_AFTER) + 1):
        [claimed] = due(session)
        webhook_outbox.not_delivered(session, claimed, "answered 500", 500)
        session.refresh(message)
        if message.status == "pending":
            assert message.next_attempt_at is not None
            waits.append(message.next_attempt_at - session.scalars(select(func.now())).one())
            later(session, message.id, waits[-1])
    assert len(waits) == len(webhook_outbox.RETRY_AFTER)
    for wait, planned in zip(waits, webhook_outbox.RETRY_AFTER, strict=True):
        assert abs(wait / planned - 1) < 0.11
    assert sum(waits, timedelta()) > timedelta(days=2)
    assert (message.status, message.error, message.response_status) == ("failed", "answered 500", 500)
    assert due(session) == []


def test_what_a_late_sender_found_undoes_nothing(session: Session, tenant: uuid.UUID) -> None:
    message = webhooks.send_test(session, tenant, make_webhook(session, tenant).id)
    [slow] = due(session)
    later(session, message.id, timedelta(minutes=2))
    [quick] = due(session)
    webhook_outbox.delivered(session, quick, 204)
    webhook_outbox.not_delivered(session, slow, "no answer", None)
    session.refresh(message)
    assert (message.status, message.response_status, message.error) == ("delivered", 204, None)


def test_one_with_many_messages_does_not_keep_others_waiting(session: Session, tenant: uuid.UUID) -> None:
    many, few = make_webhook(session, tenant), make_webhook(session, tenant)
    for _ in range(30):
        webhooks.send_test(session, tenant, many.id)
    webhooks.send_test(session, tenant, few.id)
    assert few.id in {message.webhook_id for message in webhook_outbox.claim_due(session, 8)}


def test_a_receiver_that_is_gone_is_asked_no_more(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    webhooks.send_test(session, tenant, webhook.id)
    [claimed] = due(session)
    webhook_outbox.disable(session, claimed, "410")
    session.refresh(webhook)
    assert (webhook.enabled, webhook.disabled_reason) == (False, "410")
    webhooks.send_test(session, tenant, webhook.id)
    assert due(session) == []
    assert webhooks.change(session, tenant, webhook.id, {"enabled": True}).disabled_reason is None
    assert len(due(session)) == 1


def test_a_failed_message_can_be_sent_again(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    message = webhooks.send_test(session, tenant, webhook.id)
    [claimed] = due(session)
    webhook_outbox.delivered(session, claimed, 200)
    assert due(session) == []
    webhooks.send_again(session, webhook, message.id)
    assert [(d.id, d.attempt) for d in due(session)] == [(message.id, 1)]


def test_the_log_is_kept_for_a_while(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    kept, old, waiting = (webhooks.send_test(session, tenant, webhook.id) for _ in range(3))
    for message, age in ((kept, 29), (old, 31)):
        message.status, message.finished_at = "delivered", func.now() - timedelta(days=age)
    session.flush()
    webhook_outbox.forget_old(session)
    assert {message.id for message in log(session, webhook)} == {kept.id, waiting.id}


def test_after_a_rotation_both_secrets_sign_for_a_day(session: Session, tenant: uuid.UUID) -> None:
    webhook = make_webhook(session, tenant)
    first = webhook.secret
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32
    second = webhooks.rotate_secret(session, tenant, webhook.id).secret
    assert second != first
    webhooks.send_test(session, tenant, webhook.id)
    assert due(session)[0].secrets == (second, first)
    webhook.previous_secret_until = func.now() - timedelta(seconds=1)
    session.flush()
    session.refresh(webhook)
    webhooks.send_test(session, tenant, webhook.id)
    assert due(session)[0].secrets == (second,)


def test_a_tenant_has_so_many_webhooks(session: Session, tenant: uuid.UUID) -> None:
    made = [make_webhook(session, tenant) for _ in range(webhooks.MOST_A_TENANT)]
    with pytest.raises(Conflict, match="at most 20"):
        make_webhook(session, tenant)
    webhooks.delete(session, tenant, made[0].id)
    make_webhook(session, tenant)


@pytest.mark.parametrize("act", [webhooks.get, webhooks.delete, webhooks.rotate_secret, webhooks.send_test])
def test_another_tenants_webhook_is_not_found(session: Session, tenant: uuid.UUID, act: Any) -> None:
    webhook = make_webhook(session, tenant)
    with pytest.raises(NotFound):
        act(session, make_tenant(session), webhook.id)
