"""Every address of uploads: whole ones, resumable ones, and parts that go to S3."""

from __future__ import annotations

from fastapi import APIRouter

from api.uploads import endpoints, parts, tus

router = APIRouter()
for each in (endpoints, tus, parts):
    router.include_router(each.router)
