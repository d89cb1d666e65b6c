"""Forms as a browser sends them."""

from __future__ import annotations

import uuid

from starlette.testclient import TestClient

from api.web.jobs.fields import PREFIX, texts
from masktune_core.config import PRESETS
from tests.web.conftest import csrf_of


def form(browser: TestClient, dataset_id: uuid.UUID | str, **changes: str) -> dict[str, str]:
    """The submit form with preset biased_mnist; `changes` by path, dots as two underscores."""
    typed = {PREFIX + path.replace("__", "."): value for path, value in changes.items()}
    values = {PREFIX + path: value for path, value in texts(PRESETS["biased_mnist"]).items()}
    return {
        "csrf_token": csrf_of(browser),
        "dataset": str(dataset_id),
        "preset": "biased_mnist",
        "name": "by hand",
        "idempotency_key": str(uuid.uuid4()),
        **values,
        **typed,
    }
