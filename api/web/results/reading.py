"""A job's `result.json`: the very file that can be downloaded, read from the object store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final
from uuid import UUID

from anyio import to_thread
from fastapi import Depends, Request

from api.auth import browser_principal
from api.ids import JobId
from api.services import Services, services_of
from persistence import artifacts, jobs
from persistence.database import transaction
from persistence.errors import NotFound
from persistence.store import ObjectStore
from persistence.tables import Artifact

NAME: Final = "result.json"
LARGEST: Final = 64 * 2**20
"""Bytes; a result of many thousands of classes and groups on many test sets is for programs, not for a page."""

Result = dict[str, Any]


async def read_results(request: Request, wanted: Sequence[UUID]) -> Mapping[UUID, Result]:
    """The parsed files of those of a visitor's jobs that have one, and none too large to show. Raises `StoreError`.

    To be called before the request's own transaction begins: a store may keep one waiting, and nobody who waits for it
    may hold a database connection or a thread of those that serve others. Whoever is not logged in gets nothing.
    """
    services = services_of(request)
    async with services.admission:
        found = await to_thread.run_sync(_find, request, services, wanted)
    return await to_thread.run_sync(_read, services.store, found, limiter=services.fetching) if found else {}


async def _result_of(request: Request, job_id: JobId) -> Result | None:
    return (await read_results(request, [job_id])).get(job_id)


ResultOfJob = Annotated[Result | None, Depends(_result_of)]
"""The file of the job in the path. Name it before the transaction among an endpoint's parameters."""


def _find(request: Request, services: Services, wanted: Sequence[UUID]) -> dict[UUID, Artifact]:
    found: dict[UUID, Artifact] = {}
    with transaction(services.sessions) as session:
        principal = browser_principal(request, session)
        if principal is None:
            return found
        for job_id in wanted:
            with suppress(NotFound):
                jobs.get(session, principal.tenant_id, job_id)
                found[job_id] = artifacts.get(session, job_id, NAME)
    return found


def _read(store: ObjectStore, found: Mapping[UUID, Artifact]) -> dict[UUID, Result]:
    return {
        job_id: json.loads(store.read_range(artifact.sha256, 0, artifact.size))
        for job_id, artifact in found.items()
        if artifact.size <= LARGEST
    }
