"""Configuration changes from the command line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.changes import parse_changes, resolve
from cli.errors import UsageError

names = st.from_regex(r"[a-z_]+", fullmatch=True)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(names, min_size=1, max_size=4), values)
def test_any_json_value_arrives_at_its_path(path: list[str], value: object) -> None:
    changes = parse_changes([f"{'.'.join(path)}={json.dumps(value)}"])
    for name in path:
        changes = changes[name]
    assert changes == value


def test_several_changes_of_one_part_are_merged_and_plain_text_needs_no_quotes() -> None:
    changes = parse_changes(["erm.epochs=5", "erm.select=best_accuracy", "masking.k=1.5"])
    assert changes == {"erm": {"epochs": 5, "select": "best_accuracy"}, "masking": {"k": 1.5}}


@pytest.mark.parametrize("setting", ["erm.epochs", "=5", "erm..epochs=5", ".epochs=5"])
def test_a_change_that_is_not_path_equals_value_says_how_to_write_it(setting: str) -> None:
    with pytest.raises(UsageError, match=r"path\.to\.field=value"):
        parse_changes([setting])


def test_a_part_cannot_be_both_a_value_and_a_parent() -> None:
    with pytest.raises(UsageError, match="already set"):
        parse_changes(["erm=5", "erm.epochs=5"])


def test_a_local_run_takes_preset_and_changes() -> None:
    config = resolve("biased_mnist", {"erm": {"epochs": 3}})
    assert (config.preset, config.erm.epochs, config.model.architecture) == ("biased_mnist", 3, "small_cnn")


def test_a_bad_field_is_named_with_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"erm\.epochs: .*greater than or equal to 1"):
        resolve("biased_mnist", {"erm": {"epochs": 0}})


def test_what_does_not_suit_the_network_is_named_before_anything_is_read() -> None:
    with pytest.raises(
        UsageError, match=r"(?s)does not fit the network.*input\.size: at 28 px .* resnet50 has a grid of 1×1"
    ):
        resolve(None, {"model": {"architecture": "resnet50"}})


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"mnist.*waterbirds"):
        resolve("mnist", {})
