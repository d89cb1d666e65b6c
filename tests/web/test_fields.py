"""The submit form is the configuration's schema, and what it sends back is a change to a preset."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.web.formats import coded
from api.web.jobs.fields import PREFIX, changes, fields, place_of, sections, text_of, texts
from masktune_core.config import PRESETS, JobConfig, resolve_config


def leaves(value: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, below in value.items():
        found |= leaves(below, f"{prefix}{name}.") if isinstance(below, dict) else {prefix + name}
    return found


def filled(config: JobConfig, **typed: str) -> dict[str, str]:
    """The form as a browser sends it, with some fields typed over."""
    return {PREFIX + path: text for path, text in (texts(config) | typed).items()}


def test_every_field_of_the_configuration_has_a_place_and_its_description() -> None:
    assert set(fields()) == leaves(JobConfig().model_dump(mode="json")) - {"preset"}
    assert all(field.help for field in fields().values())
    assert [section.path for section in sections()][:4] == ["", "data", "model", "input"]


def test_a_field_knows_its_kind_its_bounds_and_whether_it_may_be_empty() -> None:
    epochs, rate, crop = (fields()[path] for path in ("erm.epochs", "finetune.lr", "input.augment.random_resized_crop"))
    assert (epochs.kind, epochs.bounds, epochs.optional) == ("whole", "1 to 10,000", False)
    assert (rate.kind, rate.optional) == ("number", True)
    assert (crop.kind, crop.optional) == ("list", True)
    assert fields()["masking.strategy"].choices == ("masktune", "random_mask", "none")
    assert fields()["model.pretrained"].kind == "switch"


def test_help_is_for_people_and_not_in_the_words_of_json() -> None:
    assert all("null" not in field.help.lower() for field in fields().values())
    assert "Left empty: the whole image" in fields()["input.resize"].help
    assert coded("the `size` of <b>") == "the <code>size</code> of &lt;b&gt;"


@pytest.mark.parametrize(
    ("path", "bounds", "refused", "accepted"),
    [
        ("erm.optimizer.lr", "above 0, at most 100", 0, 100),
        ("erm.optimizer.momentum", "at least 0, below 1", 1, 0),
        ("input.augment.translate", "0 to 1", 1.1, 1),
        ("model.cam_layer", "", None, None),
    ],
)
def test_a_limit_that_is_refused_is_not_told_as_one_that_is_not(
    path: str, bounds: str, refused: float | None, accepted: float | None
) -> None:
    assert fields()[path].bounds == bounds
    if refused is not None and accepted is not None:
        base = JobConfig()
        resolve_config(None, changes(filled(base, **{path: str(accepted)}), base))
        with pytest.raises(ValidationError):
            resolve_config(None, changes(filled(base, **{path: str(refused)}), base))


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_a_form_that_nobody_touched_changes_nothing(preset: str | None) -> None:
    base = PRESETS[preset] if preset else JobConfig()
    assert changes(filled(base), base) == {}


def test_what_was_typed_comes_back_nested() -> None:
    typed = {
        "erm.epochs": " 7 ",
        "erm.schedule.milestones": "10, 20",
        "finetune.lr": "0.001",
        "model.pretrained": "true",
        "input.augment.random_resized_crop": "",
        "selective.risks": "",
    }
    base = PRESETS["waterbirds"]
    found = changes(filled(base, **typed), base)
    assert found == {
        "erm": {"epochs": "7", "schedule": {"milestones": ["10", "20"]}},
        "finetune": {"lr": "0.001"},
        "input": {"augment": {"random_resized_crop": None}},
    }
    config = resolve_config("waterbirds", found)
    assert (config.erm.epochs, config.erm.schedule.milestones, config.finetune.lr) == (7, (10, 20), 0.001)
    assert config.input.augment.random_resized_crop is None


@given(st.sampled_from(sorted(PRESETS)), st.sampled_from(sorted(PRESETS)))
def test_any_configuration_survives_the_form(shown: str, base: str) -> None:
    # Cloning: the fields show one configuration, the preset field names another.
    found = changes(filled(PRESETS[shown]), PRESETS[base])
    assert resolve_config(base, found).model_copy(update={"preset": shown}) == PRESETS[shown]


def test_a_field_that_was_not_sent_is_left_alone() -> None:
    assert changes({}, JobConfig()) == {}


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("/config/erm/epochs", "erm.epochs"),
        ("/config/erm/schedule/milestones/0", "erm.schedule.milestones"),
        ("/config/model", "model"),
        ("/config/nosuch", ""),
        ("/dataset_id", "dataset"),
        ("/checkpoint_id", "checkpoint"),
        ("/preset", "preset"),
        ("", ""),
    ],
)
def test_a_problem_finds_its_field(pointer: str, place: str) -> None:
    assert place_of(pointer) == place


def test_values_are_shown_as_they_can_be_typed() -> None:
    values = (None, True, [1.0, 0.95], 1e-4, "sgd")
    assert [text_of(value) for value in values] == ["", "true", "1.0, 0.95", "0.0001", "sgd"]
