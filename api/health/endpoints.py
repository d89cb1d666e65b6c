"""Liveness and readiness; without a key, for load balancers."""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.errors import RETRY_AFTER_SECONDS, problem_response
from api.health.schemas import Alive, Ready, State
from api.problems import responses
from api.services import Services, services_of
from persistence.database import transaction
from persistence.errors import StoreError

log = structlog.get_logger(__name__)

router = APIRouter(tags=["health"])

# Any hash will do: the store only has to answer.
_PROBE: Final = "0" * 64


@router.get("/healthz", summary="Is the process alive?", responses=responses(everywhere=()))
async def get_health() -> Alive:
    """Answers as long as the process does, whatever it can reach. Do not restart the process for anything else."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can the process serve?",
    response_model=Ready,
    responses=responses("service_unavailable", everywhere=()),
)
def get_readiness(request: Request) -> Ready | Response:
    """Whether database and object store answer; if not, 503 with each check's state.

    The broker is told but not required: without it jobs are recorded, and run once it is back.
    """
    services = services_of(request)
    checks: dict[str, State] = {
        "database": "ok" if _database_answers(services) else "unavailable",
        "store": "ok" if _store_answers(services) else "unavailable",
        "broker": "ok" if services.dispatcher.ping() else "unavailable",
    }
    missing = [name for name in ("database", "store") if checks[name] != "ok"]
    if not missing:
        return Ready(checks=checks)
    return problem_response(
        request,
        "service_unavailable",
        f"{' and '.join(missing)} cannot be reached.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        checks=checks,
    )


def _database_answers(services: Services) -> bool:
    try:
        with transaction(services.sessions) as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))
    except SQLAlchemyError as error:
        log.warning("database_unavailable", error=type(error).__name__)
        return False
    return True


def _store_answers(services: Services) -> bool:
    try:
        services.store.exists(_PROBE)
    except (StoreError, OSError) as error:
        log.warning("store_unavailable", error=type(error).__name__)
        return False
    return True
