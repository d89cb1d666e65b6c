"""Forms that no page of ours would send are answered like any wrong field."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.web.jobs.fields import fields
from tests.api.seeds import Seeds
from tests.web.conftest import csrf_of
from tests.web.forms import form
from tests.web.routes import PageRoute, page_routes

FORMS = [route for route in page_routes() if route.changes and route.path not in ("/login", "/logout")]
READ = [route for route in FORMS if not route.parameters]
"""Those whose fields decide what becomes of them."""
NAMES = [
    "name",
    "dataset",
    "checkpoint",
    "preset",
    "idempotency_key",
    "upload_id",
    "architecture",
    "num_classes",
    "classes",
    "options",
    "options.celeba",
    "options.celeba.target",
    "options.seed.x.y",
    *(leaf.name for leaf in fields().values()),
]
ODD = ["", "\0", "a\0b", "x" * 300, "é" * 70_000, "1e400", "-1", "9" * 5000, "nan", "[]", "{}", "true", "biased_mnist"]


def sent(visitor: TestClient, address: str, given: list[tuple[str, str]]) -> Any:
    """Fields in this order, and the token of the visitor's pages."""
    body = urlencode([("csrf_token", csrf_of(visitor)), *given])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return visitor.post(address, content=body, headers=headers, follow_redirects=False)


@pytest.fixture
def dataset_id(seeds: Seeds) -> uuid.UUID:
    """Of a data set that jobs can run on."""
    return seeds.pictured_dataset()


@pytest.mark.parametrize("key", ["x" * 256, "a\0b", "schlüssel", "two words"])
def test_a_forms_key_is_checked_as_the_apis_is(visitor: TestClient, dataset_id: uuid.UUID, key: str) -> None:
    submitted = list(form(visitor, dataset_id).items())
    answer = sent(visitor, "/jobs", [(name, key if name == "idempotency_key" else value) for name, value in submitted])
    assert answer.status_code == 422, answer.text
    assert "Idempotency_key: " in answer.text
    assert sent(visitor, "/jobs", submitted).status_code == 303


@pytest.mark.parametrize(
    "given", [[("options", "y"), ("options.celeba.target", "z")], [("options.celeba.target", "z"), ("options", "y")]]
)
def test_a_field_with_a_value_and_fields_inside_is_a_wrong_field(
    visitor: TestClient, given: list[tuple[str, str]]
) -> None:
    answer = sent(visitor, "/datasets/check", [("name", "pets"), *given])
    assert answer.status_code == 200
    assert [problem["place"] for problem in answer.json()["problems"]] == ["options"]


@given(
    route=st.sampled_from(READ) | st.sampled_from(FORMS),
    given=st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.sampled_from(ODD) | st.text()), max_size=12),
    well_formed=st.booleans(),
)
@example(FORMS[0], [("name", "pets")] * 600, False)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_form_that_somebody_makes_up_fails_us(
    visitor: TestClient, dataset_id: uuid.UUID, route: PageRoute, given: list[tuple[str, str]], well_formed: bool
) -> None:
    names = dict.fromkeys(route.parameters, uuid.uuid4())
    # Of a field that is there twice the last one counts.
    right = form(visitor, dataset_id).items() if well_formed else ()
    answer = sent(visitor, route.address(names), [*right, *given])
    assert answer.status_code < 500, (str(route), answer.text)
