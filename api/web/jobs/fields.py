"""The submit form, made from the JSON schema of `JobConfig`: a field for each leaf, its help text from its description.

What is submitted is read back as changes to a preset, and validated where the API validates them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

from api.web.formats import bound
from masktune_core.config import JobConfig

Kind = Literal["choice", "switch", "whole", "number", "list", "text"]
PREFIX: Final = "config."
FIRST: Final = ("seed", "model.architecture", "erm.epochs", "masking.strategy", "data.group_by")
"""Shown at once; everything else is folded away."""
_HIDDEN: Final = frozenset({"preset"})
_NAMES: Final = {
    "erm": "ERM training",
    "erm.epochs": "ERM epochs",
    "erm.optimizer.name": "optimizer",
    "erm.schedule.name": "schedule",
    "masking.strategy": "masking strategy",
    "lr": "learning rate",
    "k": "threshold k",
    "select": "weights to keep",
    "std": "standard deviation",
    "cam_layer": "CAM layer",
    "cache_mib": "image cache, MiB",
    "pca_lighting": "PCA lighting",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of the configuration. `path` is dotted; `bounds` are in words, empty where there are none."""

    path: str
    kind: Kind
    help: str
    optional: bool
    choices: tuple[str, ...] = ()
    bounds: str = ""

    @property
    def name(self) -> str:
        """In the submitted form."""
        return PREFIX + self.path

    @property
    def label(self) -> str:
        """For people."""
        return label_of(self.path)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the configuration: its own leaves, and its parts."""

    path: str
    help: str
    fields: tuple[Field, ...]
    parts: tuple[Section, ...] = field(default=())

    @property
    def label(self) -> str:
        """For people."""
        return label_of(self.path)


def label_of(path: str) -> str:
    """The last part of a path, as words."""
    last = path.rpartition(".")[2]
    words = _NAMES.get(path) or _NAMES.get(last, last.replace("_", " "))
    return words[:1].upper() + words[1:]


@cache
def sections() -> tuple[Section, ...]:
    """The parts of the configuration, in its order; the first, without a path, holds the leaves at the top."""
    schema = JobConfig.model_json_schema()
    top = _section("", schema, schema["$defs"])
    return (Section("", "", top.fields), *top.parts)


@cache
def fields() -> Mapping[str, Field]:
    """Every leaf by its path."""
    return {leaf.path: leaf for section in sections() for leaf in _leaves(section)}


def text_of(value: Any) -> str:
    """A value as it stands in its field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(part) for part in value)
    return str(value)


def texts(config: JobConfig) -> dict[str, str]:
    """What each field shows for this configuration, by path."""
    dumped = config.model_dump(mode="json")
    return {path: text_of(_at(dumped, path)) for path in fields()}


def changes(form: Mapping[str, Any], base: JobConfig) -> dict[str, Any]:
    """The submitted fields that differ from `base`, nested as the API takes them: null where one was emptied.

    Values stay the text that was typed; the configuration itself reads numbers and switches from text.
    """
    before = texts(base)
    found: dict[str, Any] = {}
    for path, leaf in fields().items():
        typed = form.get(leaf.name)
        if not isinstance(typed, str) or typed.strip() == before[path]:
            continue
        *parents, last = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _value(leaf, typed.strip())
    return found


def place_of(pointer: str) -> str:
    """The field or section that a problem belongs to: "/config/erm/schedule/milestones/0" → "erm.schedule.milestones".

    Empty when it belongs to the form as a whole.
    """
    parts = [part for part in pointer.split("/") if part]
    if not parts or parts[0] != "config":
        return {"dataset_id": "dataset", "checkpoint_id": "checkpoint"}.get(parts[0], parts[0]) if parts else ""
    known = set(fields()) | {section.path for section in _all_sections()}
    for end in range(len(parts), 1, -1):
        path = ".".join(parts[1:end])
        if path in known:
            return path
    return ""


def _value(leaf: Field, typed: str) -> Any:
    if leaf.kind == "list":
        parts = [part.strip() for part in typed.split(",") if part.strip()]
        return parts if parts or not leaf.optional else None
    return None if not typed and leaf.optional else typed


def _at(dumped: dict[str, Any], path: str) -> Any:
    value: Any = dumped
    for part in path.split("."):
        value = value[part]
    return value


def _leaves(section: Section) -> Iterator[Field]:
    yield from section.fields
    for part in section.parts:
        yield from _leaves(part)


def _all_sections() -> Iterator[Section]:
    waiting = list(sections())
    while waiting:
        section = waiting.pop()
        waiting.extend(section.parts)
        yield section


def _section(path: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Section:
    leaves, parts = [], []
    for name, below in schema["properties"].items():
        if not path and name in _HIDDEN:
            continue
        inner = f"{path}.{name}" if path else name
        if "$ref" in below:
            parts.append(_section(inner, definitions[below["$ref"].rpartition("/")[2]], definitions))
        else:
            leaves.append(_field(inner, below))
    return Section(path, schema.get("description", ""), tuple(leaves), tuple(parts))


def _field(path: str, schema: dict[str, Any]) -> Field:
    options = schema.get("anyOf", [schema])
    optional = any(option.get("type") == "null" for option in options)
    kept = next(option for option in options if option.get("type") != "null")
    kinds: dict[str, Kind] = {"boolean": "switch", "integer": "whole", "number": "number", "array": "list"}
    choices = tuple(str(choice) for choice in kept.get("enum", ()))
    return Field(
        path=path,
        kind="choice" if choices else kinds.get(kept["type"], "text"),
        help=_in_a_form(schema.get("description", "")),
        optional=optional,
        choices=choices,
        bounds=_bounds(kept),
    )


def _in_a_form(description: str) -> str:
    """What is null in JSON is a field left empty."""
    return description.replace("Null:", "Left empty:").replace("null:", "left empty:")


def _bounds(schema: Mapping[str, Any]) -> str:
    """ "1 to 10,000", or where a limit itself is refused "above 0, at most 100"."""
    if "minimum" in schema and "maximum" in schema:
        return f"{bound(schema['minimum'])} to {bound(schema['maximum'])}"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    return ", ".join(f"{word} {bound(schema[name])}" for name, word in words.items() if name in schema)
