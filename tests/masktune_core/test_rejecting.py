"""Thresholds to pick from, and what each gives on other samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.pipeline.rejecting import realised
from masktune_core.selective import apply_threshold, risk_coverage

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


def test_without_thresholds_nothing_isrealised() -> None:
    assert realised(risk_coverage([0.9], [True]), np.empty(0)) == {"coverage": [], "risk": []}
