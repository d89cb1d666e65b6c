"""Biased MNIST (paper, section 4.1): digits 0–4 against 5–9, with a cue that gives the class away in training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.philox import shuffled
from masktune_core.errors import ConfigError
from masktune_core.makers.cues import CUES, Cue, colored
from masktune_core.makers.idx import BUNDLED, has_digits, read_digits
from masktune_core.makers.packing import packed

ConflictingDigits = Literal["any", "nearest"]
CLASSES: Final = ("0-4", "5-9")
_BOUNDARY: Final = 4.5
_SPLIT_STREAM, _TRAIN_CUE_STREAM, _VAL_CUE_STREAM = range(3)


class _Part(NamedTuple):
    """One split: digits (N, 28, 28), the class of each (N,), and whether it carries the cue (N,)."""

    split: str
    digits: NDArray[np.uint8]
    labels: NDArray[np.int64]
    cued: NDArray[np.bool_]


def make_biased_mnist(
    destination: Path,
    *,
    digits: Literal["bundled"] | Path = "bundled",
    seed: int = 0,
    conflicting: float = 0.01,
    conflicting_digits: ConflictingDigits = "any",
    cue: Cue = "square",
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
) -> Path:
    """Write an archive as a user would upload it: PNG images and a `metadata.csv` with file_name, label, split, <cue>.

    In train and val exactly the fraction `conflicting` of each class goes against the rule: the cue is on the rest of
    "0-4", and on that part of "5-9". `test:original` has no cue; `test:biased` has the same digits with the cue on none
    of "0-4" and all of "5-9".

    `conflicting_digits`: "any" draws those images from all digits of a class. "nearest" takes the 4s and the 5s, and
    goes on to the next digit only when they are used up. That is what the authors' code does (it marks the first images
    of a list sorted by digit), and why their ERM scores little more on biased than the share of 4s and 5s, 18.7 %.

    `digits` is "bundled" for the 10,000 that ship with the project (7,000 train, 1,000 val, 2,000 test by default), or
    the folder of a full MNIST in IDX files, plain or gzipped (48,000, 12,000, 10,000). The same arguments give the same
    bytes. Returns `destination`.

    Raises `ConfigError` for sizes that the digits do not allow, `ArchiveError` for digits that cannot be read.
    """
    if not 0.0 <= conflicting <= 1.0:
        raise ConfigError(f"conflicting must lie in [0, 1], got {conflicting}")
    if cue not in CUES:
        raise ConfigError(f"unknown cue {cue!r}: use one of {', '.join(CUES)}")
    folder = BUNDLED if digits == "bundled" else Path(digits)
    if conflicting_digits not in get_args(ConflictingDigits):
        raise ConfigError(f"unknown conflicting_digits {conflicting_digits!r}: use any or nearest")
    parts = _parts(folder, seed, conflicting, conflicting_digits, (train, val, test))
    with packed(destination, ("file_name", "label", "split", cue)) as (packing, rows):
        for part in parts:
            for name, image, label, cued in _images(part, cue):
                packing.add(name, image)
                rows.append((name, CLASSES[label], part.split, "yes" if cued else "no"))
    return destination


def _parts(
    folder: Path,
    seed: int,
    conflicting: float,
    conflicting_digits: ConflictingDigits,
    asked: tuple[int | None, int | None, int | None],
) -> list[_Part]:
    pool, pool_digits = read_digits(folder, "t10k")
    if has_digits(folder, "train"):
        learn, learn_digits = read_digits(folder, "train")
        train, val, test = _sizes(asked, (len(learn) * 4 // 5, len(learn) // 5, len(pool)))
        learn_order, pool_order = (
            shuffled(np.arange(len(images)), seed=seed, epoch=_SPLIT_STREAM) for images in (learn, pool)
        )
        _fits("train + val", train + val, len(learn))
        _fits("test", test, len(pool))
        test_order = pool_order[:test]
    else:
        learn, learn_digits = pool, pool_digits
        train, val, test = _sizes(asked, (len(pool) * 7 // 10, len(pool) // 10, len(pool) // 5))
        learn_order = shuffled(np.arange(len(pool)), seed=seed, epoch=_SPLIT_STREAM)
        _fits("train + val + test", train + val + test, len(pool))
        test_order = learn_order[train + val : train + val + test]
    parts = []
    for split, order, stream in (
        ("train", learn_order[:train], _TRAIN_CUE_STREAM),
        ("val", learn_order[train : train + val], _VAL_CUE_STREAM),
    ):
        drawn = learn_digits[order]
        cued = _biased_cues(drawn, conflicting, conflicting_digits, seed, stream)
        parts.append(_Part(split, learn[order], _classes(drawn), cued))
    labels = _classes(pool_digits[test_order])
    nowhere = np.zeros(len(labels), dtype=np.bool_)
    parts.append(_Part("test:original", pool[test_order], labels, nowhere))
    parts.append(_Part("test:biased", pool[test_order], labels, labels == 1))
    return parts


def _sizes(asked: tuple[int | None, int | None, int | None], defaults: tuple[int, int, int]) -> tuple[int, int, int]:
    train, val, test = (default if size is None else size for size, default in zip(asked, defaults, strict=True))
    if min(train, val, test) < 2:
        raise ConfigError(f"train, val and test need at least 2 digits each, got {train}, {val}, {test}")
    return train, val, test


def _fits(what: str, wanted: int, there: int) -> None:
    if wanted > there:
        raise ConfigError(f"{what} asks for {wanted} digits, there are {there}: ask for fewer, or give a full MNIST")


def _classes(digits: NDArray[np.uint8]) -> NDArray[np.int64]:
    return (digits > _BOUNDARY).astype(np.int64)


def _biased_cues(
    digits: NDArray[np.uint8], conflicting: float, conflicting_digits: ConflictingDigits, seed: int, stream: int
) -> NDArray[np.bool_]:
    """The cue on class 0, but for exactly the conflicting fraction of each class (rounded to whole images)."""
    labels = _classes(digits)
    cued: NDArray[np.bool_] = labels == 0
    for label in (0, 1):
        members = shuffled(np.flatnonzero(labels == label), seed=seed, epoch=stream)
        if conflicting_digits == "nearest":
            members = members[np.argsort(np.abs(digits[members] - _BOUNDARY), kind="stable")]
        against = members[: round(conflicting * len(members))]
        cued[against] = ~cued[against]
    return cued


def _images(part: _Part, cue: Cue) -> Iterator[tuple[str, bytes, int, bool]]:
    folder = part.split.replace(":", "_")
    for position, (digit, label, cued) in enumerate(
        zip(part.digits, part.labels.tolist(), part.cued.tolist(), strict=True)
    ):
        encoded = io.BytesIO()
        Image.fromarray(colored(digit, cue if cued else None)).save(encoded, "png")
        yield f"{folder}/{position:05d}.png", encoded.getvalue(), label, cued
