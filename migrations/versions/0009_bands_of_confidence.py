"""Count samples in bands of confidence

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SORTS = ("index", "masked_fraction", "confidence_drop", "heatmap_distance")
_BAND = "LEAST(19, FLOOR(confidence_after * 20))"
_COUNT = (
    "INSERT INTO sample_counts SELECT job_id, split, label, group_key, outcome, {} count(*) FROM samples GROUP BY {}"
)


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    _make_counts(banded=True)
    op.execute(_COUNT.format(f"{_BAND},", "1, 2, 3, 4, 5, 6"))
    op.drop_index("ix_samples_confidence_after", table_name="samples")
    op.create_index(
        "ix_samples_confidence_after",
        "samples",
        ["job_id", "split", "outcome", "confidence_after"],
        postgresql_include=["label", "group_key", *_SORTS],
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_samples_confidence_after", table_name="samples")
    op.create_index("ix_samples_confidence_after", "samples", ["job_id", "confidence_after"])
    _make_counts(banded=False)
    op.execute(_COUNT.format("", "1, 2, 3, 4, 5"))


def _make_counts(*, banded: bool) -> None:
    """Made anew, since all of it can be counted again."""
    op.drop_table("sample_counts")
    band = [sa.Column("band", sa.SmallInteger(), autoincrement=False, nullable=False)] if banded else []
    op.create_table(
        "sample_counts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=100), nullable=False),
        sa.Column("label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.SmallInteger(), autoincrement=False, nullable=False),
        *band,
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sample_counts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(
            "job_id",
            "split",
            "label",
            "group_key",
            "outcome",
            *(column.name for column in band),
            name=op.f("pk_sample_counts"),
        ),
    )
