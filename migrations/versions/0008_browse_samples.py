"""Browse a million samples by any filter in any order, and keep what a job relied on

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import struct
from itertools import islice

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SORTS = ("index", "masked_fraction", "confidence_drop", "heatmap_distance")
_KINDS = {"split": ("job_id", "split", "outcome"), "class": ("job_id", "label", "group_key", "split", "outcome")}
_OUTCOME = (
    "(CASE WHEN predicted_before = label THEN 1 ELSE 0 END + CASE WHEN predicted_after = label THEN 2 ELSE 0 END)"
)
_BATCH = 5000


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in ("split_index", "masked_fraction_index", "confidence_drop_index"):
        op.drop_index(f"ix_samples_job_id_{name}", table_name="samples")
    op.drop_index("ix_samples_flipped", table_name="samples")
    op.add_column("samples", sa.Column("heatmap_distance", sa.REAL(), server_default="0", nullable=False))
    op.add_column("samples", sa.Column("probabilities_before", sa.LargeBinary(), nullable=True))
    op.add_column("samples", sa.Column("probabilities_after", sa.LargeBinary(), nullable=True))
    op.add_column(
        "samples", sa.Column("outcome", sa.SmallInteger(), sa.Computed(_OUTCOME, persisted=True), nullable=False)
    )
    op.add_column(
        "samples",
        sa.Column("group_key", sa.Integer(), sa.Computed('COALESCE("group", -1)', persisted=True), nullable=False),
    )
    _compute_distances(op.get_bind())
    op.alter_column("samples", "heatmap_distance", server_default=None)
    for sort in _SORTS:
        order = ["index"] if sort == "index" else [sort, "index"]
        for name, kind in _KINDS.items():
            op.create_index(
                f"ix_samples_{name}_{sort}", "samples", [*kind, *order], postgresql_include=["confidence_after"]
            )
    op.create_index("ix_samples_confidence_after", "samples", ["job_id", "confidence_after"])
    op.create_table(
        "sample_counts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=100), nullable=False),
        sa.Column("label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sample_counts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "split", "label", "group_key", "outcome", name=op.f("pk_sample_counts")),
    )
    op.execute(
        "INSERT INTO sample_counts SELECT job_id, split, label, group_key, outcome, count(*) FROM samples "
        "GROUP BY job_id, split, label, group_key, outcome"
    )
    op.create_table(
        "insights",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.Column("maps", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_insights_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_insights")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("insights")
    op.drop_table("sample_counts")
    op.drop_index("ix_samples_confidence_after", table_name="samples")
    for sort in _SORTS:
        for name in _KINDS:
            op.drop_index(f"ix_samples_{name}_{sort}", table_name="samples")
    for column in ("group_key", "outcome", "probabilities_after", "probabilities_before", "heatmap_distance"):
        op.drop_column("samples", column)
    op.create_index("ix_samples_job_id_split_index", "samples", ["job_id", "split", "index"])
    for sort in ("masked_fraction", "confidence_drop"):
        op.create_index(f"ix_samples_job_id_{sort}_index", "samples", ["job_id", sort, "index"])
    op.create_index(
        "ix_samples_flipped",
        "samples",
        ["job_id", "index"],
        postgresql_where=sa.text("(predicted_before = label) <> (predicted_after = label)"),
    )


def _compute_distances(connection: sa.Connection) -> None:
    """Fill in what the worker computes for new rows; PostgreSQL cannot read half-precision floats."""
    rows = connection.execute(
        sa.text('SELECT job_id, "index", cam_before, cam_after FROM samples'), execution_options={"yield_per": _BATCH}
    )
    found = ((row.job_id, row.index, _distance(row.cam_before, row.cam_after)) for row in rows)
    update = sa.text(
        "UPDATE samples SET heatmap_distance = new.distance "
        "FROM unnest(CAST(:jobs AS uuid[]), CAST(:indices AS int[]), "
        'CAST(:distances AS real[])) AS new (job_id, "index", distance) '
        'WHERE samples.job_id = new.job_id AND samples."index" = new."index"'
    )
    while batch := list(islice(found, _BATCH)):
        jobs, indices, distances = zip(*batch, strict=True)
        connection.execute(update, {"jobs": list(jobs), "indices": list(indices), "distances": list(distances)})


def _distance(before: bytes, after: bytes) -> float:
    """Half the sum of |p − q| over the two maps, each scaled to sum 1."""
    first, second = (struct.unpack(f"<{len(cam) // 2}e", cam) for cam in (before, after))
    sums = sum(first), sum(second)
    if not all(sums):
        return 0.0 if sums[0] == sums[1] else 1.0
    return 0.5 * float(sum(abs(p / sums[0] - q / sums[1]) for p, q in zip(first, second, strict=True)))
