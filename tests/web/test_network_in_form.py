"""The submit form knows what suits a network, and says what it does not know."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from tests.api.seeds import Seeds
from tests.web.forms import form


def test_what_does_not_suit_a_network_stands_beside_its_field(visitor: TestClient, seeds: Seeds) -> None:
    problems = check(visitor, seeds, model__architecture="resnet18", input__size="28")["problems"]
    assert [each["place"] for each in problems] == ["input.size"]
    assert "set input.size to 33 or more" in problems[0]["detail"]
    named = {"model__architecture": "resnet18", "model__cam_layer": "layer4.7", "input__size": "64"}
    assert [each["place"] for each in check(visitor, seeds, **named)["problems"]] == ["model.cam_layer"]


def test_without_a_data_set_the_network_is_looked_at_all_the_same(visitor: TestClient) -> None:
    answer = visitor.post("/jobs/check", data=form(visitor, "", model__cam_layer="layer9")).json()
    assert [each["place"] for each in answer["problems"]] == ["dataset", "model.cam_layer"]


def test_what_only_a_worker_can_tell_is_named_beside_the_estimate(visitor: TestClient, seeds: Seeds) -> None:
    found = check(visitor, seeds, model__architecture="resnet18", model__pretrained="true", input__size="64")
    assert found["problems"] == []
    assert found["estimate"].endswith("Shows when it runs: whether the worker can fetch the weights resnet18.tv_in1k.")


def check(visitor: TestClient, seeds: Seeds, **changes: str) -> dict[str, Any]:
    """What the form's check answers."""
    answer: dict[str, Any] = visitor.post("/jobs/check", data=form(visitor, seeds.dataset(), **changes)).json()
    return answer
