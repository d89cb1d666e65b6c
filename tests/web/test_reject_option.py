"""The reject option on a job's page and in its report."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from tests.api.seeds import Seeds
from tests.web.results import job_with_result, selective


def without_thresholds() -> dict[str, Any]:
    """A result's part on the reject option, without a validation split."""
    return {
        score: {
            "offered": [],
            "thresholds": {},
            "splits": {split: each["splits"][split] | {"targets": []} for split in ("test", "test:biased")},
        }
        for score, each in selective().items()
    }


def test_without_a_validation_split_the_page_says_why_no_threshold_can_be_picked(
    visitor: TestClient, seeds: Seeds
) -> None:
    why = "The data set has no validation split"
    assert why not in visitor.get(f"/jobs/{job_with_result(seeds)}").text
    job_id = job_with_result(seeds, selective=without_thresholds())
    for page in (visitor.get(f"/jobs/{job_id}").text, visitor.get(f"/jobs/{job_id}/report").text):
        assert why in page
        assert "data-picker" not in page.split("<script")[0]
        assert 'aria-label="Risk over coverage, test' in page
