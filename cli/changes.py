"""Changes of a configuration as given on the command line: `erm.epochs=5`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from cli.errors import UsageError
from masktune_core.config import JobConfig, resolve_config
from masktune_core.config_fit import misfits


def parse_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Nested changes from `path.to.field=value`; the value is JSON, or plain text where it does not parse as such."""
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise UsageError(f"--set {setting}: write it as path.to.field=value, such as erm.epochs=5")
        place = changes
        for name in names[:-1]:
            below = place.setdefault(name, {})
            if not isinstance(below, dict):
                raise UsageError(f"--set {setting}: {name} was already set to a value")
            place = below
        place[names[-1]] = _value(text)
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def resolve(preset: str | None, changes: Mapping[str, Any]) -> JobConfig:
    """The configuration of a local run; a bad field, or one that its network cannot be, becomes one line of text."""
    try:
        config = resolve_config(preset, changes)
    except KeyError as error:
        raise UsageError(str(error.args[0])) from error
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors()]
        raise UsageError("\n".join(["the configuration is not valid", *lines])) from error
    if found := misfits(config):
        lines = [f"  {each.field}: {each.message}" for each in found]
        raise UsageError("\n".join(["the configuration does not fit the network", *lines]))
    return config
