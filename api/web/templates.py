"""Pages from templates, which lie beside the code of their noun: `render(request, "jobs/list.html", …)`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api import cookies
from api.web import assets, formats
from api.web.charts.intervals import interval_axis
from api.web.datasets.view import split_order
from api.web.pixels import is_small
from api.web.visitors import visitor_in

FOLDER: Final = Path(__file__).parent


@cache
def environment() -> Environment:
    """Jinja2 with everything escaped, and a misspelt name an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["static"] = assets.static
    made.globals["csrf_field"] = cookies.CSRF_FIELD
    for filter_ in (
        formats.percent,
        formats.points,
        formats.count,
        formats.size,
        formats.duration,
        formats.time_tag,
        formats.ago,
        formats.exact,
        formats.short,
        formats.words,
        formats.sentence,
        formats.coded,
    ):
        made.filters[filter_.__name__] = filter_
    made.filters["by_split"] = lambda pairs: sorted(pairs, key=lambda pair: split_order(pair[0]))
    made.tests["under"] = formats.is_under
    made.tests["small"] = lambda image: is_small(image.width, image.height)
    made.globals["interval_axis"] = interval_axis
    made.globals["plural"] = formats.plural
    return made


def render(request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page (or part of one, for htmx) of template `name`, with `values` and the visitor in it. Never cached."""
    visitor = visitor_in(request)
    values.setdefault("csrf", visitor.csrf_token if visitor else "")
    template = environment().get_template(name)
    text = template.render(**values, request=request, path=request.url.path, visitor=visitor)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})
