"""Where two jobs end up with different answers."""

from __future__ import annotations

from sqlalchemy.orm import Session

from persistence import differences, samples
from tests.fixtures.records import job_in, sample_row


def test_only_images_with_different_answers_are_listed_and_counted(session: Session) -> None:
    first, token = job_in(session, "running")
    second, other = job_in(session, "running")
    # (split, label, answer of the first, answer of the second)
    answers = [
        ("test", 0, 0, 0),
        ("test", 0, 0, 1),
        ("test", 1, 0, 1),
        ("train", 0, 1, 2),
        ("train", 0, 0, 2),
    ]
    for job_id, fence, place in ((first.id, token, 2), (second.id, other, 3)):
        rows = [
            sample_row(index, split=each[0], label=each[1], predicted_after=each[place])
            for index, each in enumerate(answers)
        ]
        samples.copy_in(session, job_id, fence, rows)
    page = differences.page(session, first.id, second.id, limit=2)
    assert [(row.index, row.first_predicted, row.second_predicted) for row in page.rows] == [(1, 0, 1), (2, 0, 1)]
    assert page.has_more
    rest = differences.page(session, first.id, second.id, after=2)
    assert [row.index for row in rest.rows] == [3, 4]
    assert [
        (row.split, row.only_first, row.only_second, row.neither)
        for row in differences.counts(session, first.id, second.id)
    ] == [
        ("test", 1, 1, 0),
        ("train", 1, 0, 1),
    ]
    assert differences.counts(session, first.id, first.id) == []
