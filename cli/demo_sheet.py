"""The demo's contact sheet: samples that tell what happened, with pictures fetched from the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cli.client import Client
from cli.contact_sheet import SheetRow, SheetSection, draw_sheet, fetch_tiles, save_sheet

_ROWS: Final = 6
_CONFLICTING_SHARE: Final = 0.05
"""A training group that is a smaller share of its class than this goes against the shortcut."""


def draw_demo_sheet(client: Client, job: Mapping[str, Any], dataset: Mapping[str, Any], destination: Path) -> None:
    """Training images on which the shortcut misleads, and biased test images that the finetuned model gets right."""
    conflicting = conflicting_groups(dataset)
    share = _ROWS // max(1, len(conflicting))
    training = [
        sample
        for group in conflicting
        for sample in _samples(client, job, share, split="train", group=group, sort="masked_fraction")
    ]
    labels = range(len(dataset["classes"]))
    fixed = [
        sample
        for label in labels
        for sample in _samples(client, job, _ROWS // len(labels), split="test:biased", flipped="fixed", label=label)
    ]
    sections = [
        SheetSection("Training images that go against the shortcut", _rows(client, job, dataset, training)),
        SheetSection("Images of test:biased that MaskTune put right", _rows(client, job, dataset, fixed)),
    ]
    seed, epochs = job["config"]["seed"], job["config"]["erm"]["epochs"]
    subtitle = (
        "In training a red square marks almost every 0-4 and almost no 5-9; test:biased has it on 5-9 only. "
        f"Seed {seed}, {epochs} ERM epochs, {job['config']['finetune']['epochs']} epoch of finetuning on masked images."
    )
    save_sheet(draw_sheet("MaskTune: what the model looked at, before and after", subtitle, sections), destination)


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


def _samples(client: Client, job: Mapping[str, Any], limit: int, **filters: object) -> list[dict[str, Any]]:
    return list(client.pages(f"/v1/jobs/{job['id']}/samples", limit=limit, **filters))


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
        rows.append(SheetRow(f"a {classes[label]}", subtitle, verdicts[0], verdicts[1], tiles))
    return rows
