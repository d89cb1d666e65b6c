"""Thresholds chosen on the validation split, and what each gives on other samples, by group too, against counting."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.config import SelectiveConfig
from masktune_core.data.dataset import Dataset
from masktune_core.evaluation import Predictions
from masktune_core.pipeline.rejecting import judge_rejecting, realised
from masktune_core.selective import apply_threshold, risk_coverage
from tests.masktune_core.archives import picture, write_dataset

Rows = list[tuple[float, bool]]
rows = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), st.booleans()), min_size=1, max_size=30)


@given(rows, rows)
def test_every_offered_threshold_gives_what_applying_it_gives(validation: Rows, other: Rows) -> None:
    offered = risk_coverage([row[0] for row in validation], [row[1] for row in validation]).threshold
    confidence, correct = [row[0] for row in other], [row[1] for row in other]
    found = realised(risk_coverage(confidence, correct), offered)
    for at, threshold in enumerate(offered):
        applied = apply_threshold(float(threshold), confidence, correct)
        assert found["coverage"][at] == applied.coverage
        assert found["risk"][at] == applied.risk


def test_without_thresholds_nothing_is_realised() -> None:
    assert realised(risk_coverage([0.9], [True]), np.empty(0)) == {"coverage": [], "risk": []}


SAMPLES = 24  # of each split; groups go round, so each has some in every split


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """Three splits of 24 tiny images, two classes, two values of an attribute."""
    images = [picture(number, 1, 1) for number in range(3 * SAMPLES)]
    path = tmp_path_factory.mktemp("rejecting") / "dataset.zip"
    with write_dataset(path, images, splits=("train", "val", "test")) as made:
        yield made


answers = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 7).map(lambda n: n / 7)), min_size=SAMPLES, max_size=SAMPLES
)
three = st.tuples(answers, answers, answers)  # of ERM, the finetuned model, and their product


def as_predictions(rows: list[tuple[int, float]]) -> Predictions:
    return Predictions(np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows]))


def counted(
    answers: list[tuple[int, float]], label: list[int], member: list[bool], threshold: float
) -> tuple[int, float | None, float | None]:
    """Accepted, coverage and risk of the members, sample by sample."""
    accepted = [
        answer == own
        for (answer, confidence), own, inside in zip(answers, label, member, strict=True)
        if inside and confidence >= threshold
    ]
    coverage = len(accepted) / sum(member) if any(member) else None
    return len(accepted), coverage, accepted.count(False) / len(accepted) if accepted else None


@given(three, three, st.floats(0.05, 1.0), st.floats(0.0, 0.6))
def test_coverage_and_risk_of_every_split_and_group_are_what_counting_gives(
    dataset: Dataset,
    validation: tuple[list[tuple[int, float]], ...],
    other: tuple[list[tuple[int, float]], ...],
    coverage: float,
    risk: float,
) -> None:
    rows = {"train": validation, "val": validation, "test": other}
    found = {split: [as_predictions(each) for each in answers] for split, answers in rows.items()}
    config = SelectiveConfig(coverages=(coverage,), risks=(risk,))
    judged = judge_rejecting(dataset, found, config, iteration=1)
    figures = {(m.split, m.group, m.name): (m.value, m.count) for m in judged.metrics}

    label = {split: dataset.labels[members].tolist() for split, members in dataset.splits.items()}
    group = {split: dataset.groups[members].tolist() for split, members in dataset.splits.items()}
    for score, row in (("erm", 0), ("masktune", 1), ("product", 2)):
        points = [counted(validation[row], label["val"], [True] * SAMPLES, own) for _, own in validation[row]]
        thresholds = [own for _, own in validation[row]]
        reaching = [own for own, (_, c, _) in zip(thresholds, points, strict=True) if (c or 0.0) >= coverage - 1e-12]
        keeping = [own for own, (_, _, r) in zip(thresholds, points, strict=True) if r is not None and r <= risk]
        chosen = {f"{coverage:g}": max(reaching), f"risk={risk:g}": min(keeping, default=math.inf)}
        for target, threshold in chosen.items():
            for split in ("val", "test"):
                parts: dict[str | None, list[bool]] = {None: [True] * SAMPLES}
                parts |= {name: [own == at for own in group[split]] for at, name in enumerate(dataset.group_names)}
                for name, member in parts.items():
                    accepted, *expected = counted(rows[split][row], label[split], member, threshold)
                    for figure, value in zip(("coverage", "risk"), expected, strict=True):
                        assert figures[split, name, f"selective.{score}.{figure}@{target}"] == (value, accepted)
        for split in ("val", "test"):
            risks = [counted(rows[split][row], label[split], [True] * SAMPLES, own)[2] for _, own in rows[split][row]]
            mean = sum(each for each in risks if each is not None) / SAMPLES  # O(n²): the risk at each own confidence
            assert figures[split, None, f"selective.{score}.aurc"][0] == pytest.approx(mean)
