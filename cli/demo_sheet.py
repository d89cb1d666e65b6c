"""The demo's contact sheet: samples that tell what happened, with pictures fetched from the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cli.client import Client
from cli.contact_sheet import SheetRow, SheetSection, draw_sheet, fetch_tiles, save_sheet

_ROWS: Final = 6
_LOOKED_AT: Final = 200
_CONFLICTING_SHARE: Final = 0.05
"""A training group that is a smaller share of its class than this goes against the shortcut."""


def draw_demo_sheet(client: Client, job: Mapping[str, Any], dataset: Mapping[str, Any], destination: Path) -> None:
    """Training images that follow the shortcut and that go against it, and biased test images that were put right."""
    conflicting = conflicting_groups(dataset)
    training = []
    for group in sorted(range(len(group_names(dataset))), key=lambda group: group in conflicting):
        found = _samples(client, job, split="train", group=group)
        training += sorted(found, key=_telling)[: 2 if group in conflicting else 1]
    labels = range(len(dataset["classes"]))
    repaired = []
    for label in labels:
        found = _samples(client, job, split="test:biased", flipped="fixed", label=label)
        repaired += sorted(found, key=_telling)[: _ROWS // len(labels)]
    sections = [
        SheetSection("Training images, with the shortcut and against it", _rows(client, job, dataset, training)),
        SheetSection("Images of test:biased that MaskTune put right", _rows(client, job, dataset, repaired)),
    ]
    seed, epochs = job["config"]["seed"], job["config"]["erm"]["epochs"]
    subtitle = (
        "In training a red square marks almost every 0-4 and almost no 5-9; test:biased has it on 5-9 only. "
        f"Seed {seed}, {epochs} ERM epochs, {job['config']['finetune']['epochs']} epoch of finetuning on masked images."
    )
    save_sheet(draw_sheet("MaskTune: what the model looked at, before and after", subtitle, sections), destination)


def _telling(sample: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """Sorts first: something is masked, ERM is wrong, and it is sure of it."""
    return sample["masked_fraction"] == 0.0, sample["correct_before"], -sample["confidence_before"]


def group_names(dataset: Mapping[str, Any]) -> list[str]:
    """Names by group number: label × the first attribute, as the service counts them."""
    attributes = dataset["attributes"]
    if not attributes:
        return []
    name, values = attributes[0]["name"], attributes[0]["values"]
    return [f"{label} · {name}={value}" for label in dataset["classes"] for value in values]


def conflicting_groups(dataset: Mapping[str, Any]) -> list[int]:
    """Numbers of the training groups that are rare within their class."""
    counts = dataset["summary"]["splits"]["train"]
    names = group_names(dataset)
    per_class = len(names) // max(1, len(dataset["classes"]))
    found = []
    for number, name in enumerate(names):
        there = counts["groups"].get(name, 0)
        of_class = counts["classes"][dataset["classes"][number // per_class]]
        if 0 < there < _CONFLICTING_SHARE * of_class:
            found.append(number)
    return found


def _samples(client: Client, job: Mapping[str, Any], **filters: object) -> list[dict[str, Any]]:
    return list(client.pages(f"/v1/jobs/{job['id']}/samples", limit=_LOOKED_AT, **filters))


def _rows(
    client: Client, job: Mapping[str, Any], dataset: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> list[SheetRow]:
    classes: list[str] = dataset["classes"]
    rows = []
    for sample in samples:
        label = sample["label"]
        verdicts = [
            (classes[sample[f"predicted_{when}"]], sample[f"confidence_{when}"], sample[f"predicted_{when}"] == label)
            for when in ("before", "after")
        ]
        cue = (sample["group_name"] or sample["split"]).rpartition(" · ")[2]
        subtitle = f"{cue}, image {sample['index']}, {100 * sample['masked_fraction']:.1f} % masked"
        tiles = fetch_tiles(client, job["id"], sample["index"])
        rows.append(SheetRow(f"class {classes[label]}", subtitle, verdicts[0], verdicts[1], tiles))
    return rows
