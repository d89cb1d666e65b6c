"""Find samples by the confidence of either model, and pass over the others within the index

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_SORTS = ("index", "masked_fraction", "confidence_drop", "heatmap_distance")
_KINDS = {"split": ("job_id", "split", "outcome"), "class": ("job_id", "label", "group_key", "split", "outcome")}
_KIND = ("split", "label", "group_key", "outcome")
_COUNT = "INSERT INTO sample_{} SELECT job_id, split, label, group_key, outcome, {} count(*) FROM samples GROUP BY {}"
_BAND = "LEAST(19, FLOOR(confidence_{} * 20)),"


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    _drop_indexes("confidence_after")
    _make_counts("sample_counts")
    op.execute(_COUNT.format("counts", "", "1, 2, 3, 4, 5"))
    _make_counts("sample_bands", sa.Column("model", sa.String(length=6), nullable=False), _band())
    for model in ("before", "after"):
        op.execute(_COUNT.format("bands", f"'{model}', {_BAND.format(model)}", "1, 2, 3, 4, 5, 6, 7"))
    for name, columns in _ordered():
        op.create_index(name, "samples", [*columns, "confidence_after", "confidence_before"])
    for model, other in (("before", "after"), ("after", "before")):
        op.create_index(
            f"ix_samples_confidence_{model}",
            "samples",
            ["job_id", "split", "outcome", f"confidence_{model}"],
            postgresql_include=["label", "group_key", f"confidence_{other}", *_SORTS],
        )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _drop_indexes("confidence_after", "confidence_before")
    op.drop_table("sample_bands")
    _make_counts("sample_counts", _band())
    op.execute(_COUNT.format("counts", _BAND.format("after"), "1, 2, 3, 4, 5, 6"))
    for name, columns in _ordered():
        op.create_index(name, "samples", columns, postgresql_include=["confidence_after"])
    op.create_index(
        "ix_samples_confidence_after",
        "samples",
        ["job_id", "split", "outcome", "confidence_after"],
        postgresql_include=["label", "group_key", *_SORTS],
    )


def _ordered() -> list[tuple[str, list[str]]]:
    """Names and first columns of the indexes that samples are read in order by."""
    return [
        (f"ix_samples_{name}_{sort}", [*kind, *(["index"] if sort == "index" else [sort, "index"])])
        for sort in _SORTS
        for name, kind in _KINDS.items()
    ]


def _drop_indexes(*ranged: str) -> None:
    for name, _ in _ordered():
        op.drop_index(name, table_name="samples")
    for name in ranged:
        op.drop_index(f"ix_samples_{name}", table_name="samples")


def _band() -> sa.Column[int]:
    return sa.Column("band", sa.SmallInteger(), autoincrement=False, nullable=False)


def _make_counts(table: str, *more: sa.Column[str] | sa.Column[int]) -> None:
    """Made anew, since all of it can be counted again."""
    op.execute(f"DROP TABLE IF EXISTS {table}")
    op.create_table(
        table,
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=100), nullable=False),
        sa.Column("label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.SmallInteger(), autoincrement=False, nullable=False),
        *more,
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f(f"fk_{table}_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", *_KIND, *(column.name for column in more), name=op.f(f"pk_{table}")),
    )
