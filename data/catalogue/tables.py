"""The tables of the catalogue. A change here needs a migration in `migrations/versions`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both databases; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return None if value is None else value.astimezone(timezone.utc)
        return value.replace(tzinfo=timezone.utc)


Number = BigInteger().with_variant(Integer, "sqlite")
"""Key that counts up; only INTEGER does so in SQLite."""

PLAIN = JSON(none_as_null=True)

# Without it, SQLite would give the number of a deleted row to the next one.
_NEVER_AGAIN = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Double(),
        datetime: UtcDateTime(),
    }


class UploadRow(Base):
    """An uploaded image; labelled if it has a label."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "uncertainty"),
        CheckConstraint("uncertainty BETWEEN 0 AND 1", "uncertainty"),
        CheckConstraint("label IS NOT NULL OR label_source IS NULL", "label_source"),
        _NEVER_AGAIN,
    )

    sequence: Mapped[int] = mapped_column(Number, primary_key=True)
    """Counts up in the order in which uploads became visible; never used twice."""
    id: Mapped[str] = mapped_column(unique=True)
    content_hash: Mapped[str] = mapped_column(unique=True)
    perceptual_hash: Mapped[bytes]
    image_key: Mapped[str] = mapped_column(index=True)
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    label: Mapped[str | None] = mapped_column(index=True)
    label_source: Mapped[str | None]
    lesion_id: Mapped[str | None] = mapped_column(index=True)
    uploader: Mapped[str | None] = mapped_column(index=True)
    probabilities: Mapped[dict[str, Any] | None] = mapped_column(PLAIN)
    uncertainty: Mapped[float | None]
    model_version: Mapped[str | None]
    created: Mapped[datetime]
    updated: Mapped[datetime]


class RunRow(Base):
    """A run of retraining."""

    __tablename__ = "runs"
    __table_args__ = (CheckConstraint("active = 1", "active"), _NEVER_AGAIN)

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    active: Mapped[int | None] = mapped_column(unique=True)
    """1 while the run is not over, then NULL: the database itself refuses a second active run."""
    state: Mapped[str]
    mode: Mapped[str]
    trigger: Mapped[str]
    actor: Mapped[str]
    owner: Mapped[str | None]
    phase: Mapped[str]
    progress: Mapped[float]
    epoch: Mapped[int | None]
    epochs: Mapped[int | None]
    eta_s: Mapped[float | None]
    metrics: Mapped[dict[str, Any]] = mapped_column(PLAIN)
    new_images: Mapped[int]
    images: Mapped[int]
    champion_version: Mapped[str | None]
    challenger_version: Mapped[str | None]
    decision: Mapped[dict[str, Any] | None] = mapped_column(PLAIN)
    reason: Mapped[str | None]
    attempts: Mapped[int]
    cancel_requested: Mapped[bool]
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    heartbeat: Mapped[datetime | None]


class RunImageRow(Base):
    """An upload as a run trained on it; it outlives the upload: `upload_id` is no foreign key."""

    __tablename__ = "run_images"
    __table_args__ = (Index(None, "upload_id", "label"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Counts the images of the run from 0, in the order of training."""
    upload_id: Mapped[str]
    label: Mapped[str]
    content_hash: Mapped[str]
    image_key: Mapped[str]
    lesion_id: Mapped[str | None]
    media_type: Mapped[str]


class RolloutRow(Base):
    """A move from one version to another over all replicas."""

    __tablename__ = "rollouts"
    __table_args__ = (CheckConstraint("active = 1", "active"), _NEVER_AGAIN)

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    active: Mapped[int | None] = mapped_column(unique=True)
    """As in `RunRow`."""
    kind: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    from_version: Mapped[str]
    to_version: Mapped[str]
    state: Mapped[str]
    actor: Mapped[str]
    shadow: Mapped[dict[str, Any] | None] = mapped_column(PLAIN)
    observation: Mapped[dict[str, Any] | None] = mapped_column(PLAIN)
    autoscaling: Mapped[dict[str, Any] | None] = mapped_column(PLAIN)
    gate_hash: Mapped[str | None]
    reason: Mapped[str | None]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    finished: Mapped[datetime | None]


class ApiKeyRow(Base):
    """An API key; fields as in `ApiKey`. Rows stay, so that a server with keys never opens up."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(PLAIN)
    hash: Mapped[str]
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    bytes_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    created: Mapped[datetime]
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class AuditRow(Base):
    """A row of the audit log; triggers refuse UPDATE and DELETE.

    All but the number is text, so that the hash covers to the letter what is stored.
    """

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    time: Mapped[str]
    """ISO 8601, UTC, microseconds."""
    event: Mapped[str]
    actor: Mapped[str]
    details: Mapped[str]
    """Canonical JSON."""
    previous: Mapped[str]
    hash: Mapped[str]
