"""What the sweepers of all machines know of their rounds."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, Moment


class Sweeper(Base):
    """One row. `seen_at` is when a round last was begun, `resumed_at` when one was begun after a long gap, if ever."""

    __tablename__ = "sweeper"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seen_at: Mapped[Moment]
    resumed_at: Mapped[Moment | None]

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
