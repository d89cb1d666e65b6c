"""Reading back the configurations of jobs, some of which another version of the service may have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from masktune_core.config import JobConfig


class UnreadableConfig(ValueError):
    """The message names the fields that this version does not take, or not with these values."""


def read(stored: Mapping[str, Any]) -> JobConfig:
    """The configuration of a job as it was stored. Raises `UnreadableConfig`."""
    try:
        return JobConfig.model_validate(stored)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
        raise UnreadableConfig(f"this version of the service cannot read the job's configuration ({fields})") from None


def read_what_can_be_read(stored: Mapping[str, Any]) -> JobConfig:
    """The same for showing what a job made: what cannot be read is left out, and has its default."""
    rest = deepcopy(dict(stored))
    while True:
        try:
            return JobConfig.model_validate(rest)
        except ValidationError as error:
            places = [each["loc"] for each in error.errors()]
        before = deepcopy(rest)
        for place in places:
            _leave_out(rest, place)
        if rest == before:
            return JobConfig()


def _leave_out(config: dict[str, Any], place: Sequence[str | int]) -> None:
    """Take away the value at a place, or the innermost part on the way there that is one."""
    inner: Any = config
    for part in place[:-1]:
        if not isinstance(inner, dict) or not isinstance(inner.get(part), dict):
            break
        inner, place = inner[part], place[1:]
    if isinstance(inner, dict) and place:
        inner.pop(place[0], None)
