"""Where a job could not help, or its result could not be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

FEW_TRAINING: Final = 200
FEW_OF_CLASS: Final = 20
FEW_OF_GROUP: Final = 20
IMBALANCED: Final = 20.0
TINY_PIXELS: Final = 16
DETERMINED: Final = 0.999
INDEPENDENT: Final = 0.05


def warnings_of(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Everything worth a warning in a report: `{"code", "where", "message"}`; codes are stable."""
    found = (*_of_splits(report), *_of_classes(report), *_of_duplicates(report), *_of_attributes(report))
    return [{"code": code, "where": where, "message": message} for code, where, message in found]


Finding = tuple[str, str, str]


def _of_splits(report: Mapping[str, Any]) -> Iterator[Finding]:
    splits = report["splits"]
    if "val" not in splits:
        message = "there is no validation split: no epoch can be selected, and no reject threshold chosen"
        yield "no_validation_split", "val", message
    count = splits["train"]["count"]
    if count < FEW_TRAINING:
        yield (
            "few_training_images",
            "train",
            f"{'1 training image is' if count == 1 else f'{count} training images are'} few to learn from:"
            f" {FEW_TRAINING} is a start",
        )
    sizes = report["sizes"]
    smallest = min(sizes["width"]["min"], sizes["height"]["min"])
    if smallest < TINY_PIXELS:
        message = f"the smallest side is {smallest} pixels: a map has too few cells to mask a part of such an image"
        yield "tiny_images", "sizes", message


def _of_classes(report: Mapping[str, Any]) -> Iterator[Finding]:
    for split, counts in report["splits"].items():
        missing = [name for name, count in counts["classes"].items() if count == 0]
        if missing and split == "train":
            message = f"no training image has the class {_some(missing)}: a job cannot learn it"
            yield "class_not_trained", "train", message
        elif missing:
            yield "class_not_tested", split, f"no image has the class {_some(missing)}: nothing is known about it here"
    few = [each["name"] for each in report["classes"] if 0 < each["train"] < FEW_OF_CLASS]
    if few:
        yield "few_of_class", "train", f"fewer than {FEW_OF_CLASS} training images have the class {_some(few)}"
    if report["imbalance"] is not None and report["imbalance"] > IMBALANCED:
        message = f"the largest class has {report['imbalance']:.0f} times as many training images as the smallest"
        yield "imbalanced", "train", f"{message}: accuracy alone says little; look at the worst class"


def _of_duplicates(report: Mapping[str, Any]) -> Iterator[Finding]:
    for kind, code, one_is, many_are in (
        ("exact", "duplicates_across_splits", "is the same, byte for byte, as", "are the same, byte for byte, as"),
        ("similar", "similar_across_splits", "looks the same as", "look the same as"),
    ):
        for each in report["duplicates"][kind]["between"]:
            one, other = each["splits"]
            message = f"{each['count']} images of {other} {many_are} images of {one}"
            if each["count"] == 1:
                message = f"1 image of {other} {one_is} an image of {one}"
            leak = ": its accuracy is flattered" if one == "train" else ""
            yield code, f"{one}, {other}", message + leak


def _of_attributes(report: Mapping[str, Any]) -> Iterator[Finding]:
    if not report["attributes"]:
        message = "there is no attribute column: a shortcut can be removed, but no group's accuracy can be shown"
        yield "no_attributes", "attributes", message
    for attribute in report["attributes"]:
        name, strength = attribute["name"], attribute["cramers_v"].get("train")
        if strength is not None and strength >= DETERMINED:
            message = (
                f"in training, {name!r} and the label determine each other (Cramér's V {strength:.3f}), without a"
                " single counterexample: finetuning has nothing that tells the shortcut from the class"
            )
            yield "attribute_determines_label", name, message
        elif strength is not None and strength < INDEPENDENT:
            message = f"in training, {name!r} tells nothing of the label (Cramér's V {strength:.3f}): it is no shortcut"
            yield "attribute_independent", name, message
        for split, groups in attribute["groups"].items():
            if not split.startswith("test"):
                continue
            empty = [group for group, count in groups.items() if count == 0]
            few = [group for group, count in groups.items() if 0 < count < FEW_OF_GROUP]
            if empty:
                message = f"no image is in the group {_some(empty)}: the worst group cannot be known"
                yield "group_empty", split, message
            if few:
                message = f"fewer than {FEW_OF_GROUP} images are in the group {_some(few)}: its accuracy is uncertain"
                yield "group_small", split, message


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
