"""All pages, and how they are put into the application."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import RedirectResponse, Response

from api.web.assets import router as assets
from api.web.checkpoints.pages import router as checkpoints
from api.web.compare.pages import router as compare
from api.web.datasets.listing import router as dataset_list
from api.web.datasets.pages import router as datasets
from api.web.insight.pages import router as insight
from api.web.jobs.listing import router as job_list
from api.web.jobs.pages import router as jobs
from api.web.jobs.submitting import router as submitting
from api.web.jobs.whole_log import router as whole_log
from api.web.login.endpoints import router as login
from api.web.middleware import PageMiddleware
from api.web.report.endpoints import router as report
from api.web.saliency.pages import router as saliency
from api.web.uploads.checking import router as upload_checks
from api.web.visitors import LoginNeeded, require_visitor, to_login

start = APIRouter(include_in_schema=False)


@start.get("/", dependencies=[Depends(require_visitor)])
def start_page() -> Response:
    """Most visits are about jobs."""
    return RedirectResponse("/jobs", status_code=303)


_ROUTERS = (
    start,
    assets,
    login,
    upload_checks,
    dataset_list,
    datasets,
    checkpoints,
    job_list,
    submitting,
    jobs,
    whole_log,
    report,
    compare,
    insight,
    saliency,
)


def install(app: FastAPI) -> None:
    """Add the pages to `app`."""
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(LoginNeeded, _login_needed)
    app.add_middleware(PageMiddleware)


async def _login_needed(request: Request, _: Exception) -> Response:
    return to_login(request)
