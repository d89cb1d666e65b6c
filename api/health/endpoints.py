"""Liveness and readiness; without a key, for load balancers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.errors import RETRY_AFTER_SECONDS, problem_response
from api.health.schemas import Alive, Ready
from api.problems import responses
from api.services import services_of

router = APIRouter(tags=["health"])


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

    The broker is told but not required: without it jobs are recorded, and run once it is back. The answer may be a
    second old.
    """
    checks = services_of(request).reachable.look()
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
