"""The first tables: uploads, runs, what they trained on, rollouts, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Make the tables, in the caller's transaction."""
    op.create_table(
        "uploads",
        sa.Column("sequence", NUMBER, primary_key=True),
        _text("id"),
        _text("content_hash"),
        sa.Column("perceptual_hash", sa.LargeBinary, nullable=False),
        _text("image_key"),
        _text("media_type"),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        _text("label", nullable=True),
        _text("label_source", nullable=True),
        _text("lesion_id", nullable=True),
        _text("uploader", nullable=True),
        sa.Column("probabilities", JSON),
        sa.Column("uncertainty", sa.Double),
        _text("model_version", nullable=True),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
        sa.UniqueConstraint("id", name="uq_uploads_id"),
        sa.UniqueConstraint("content_hash", name="uq_uploads_content_hash"),
        sa.CheckConstraint("uncertainty BETWEEN 0 AND 1", "ck_uploads_uncertainty"),
        sa.CheckConstraint("label IS NOT NULL OR label_source IS NULL", "ck_uploads_label_source"),
        sqlite_autoincrement=True,
    )
    for column in ("label", "lesion_id", "uploader", "uncertainty", "image_key"):
        op.create_index(f"ix_uploads_{column}", "uploads", [column])
    op.create_table(
        "runs",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("active", sa.Integer),
        _text("state"),
        _text("mode"),
        _text("trigger"),
        _text("actor"),
        _text("owner", nullable=True),
        _text("phase"),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("epoch", sa.Integer),
        sa.Column("epochs", sa.Integer),
        sa.Column("eta_s", sa.Double),
        sa.Column("metrics", JSON, nullable=False),
        sa.Column("new_images", sa.Integer, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        _text("champion_version", nullable=True),
        _text("challenger_version", nullable=True),
        sa.Column("decision", JSON),
        _text("reason", nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("started", MOMENT),
        sa.Column("finished", MOMENT),
        sa.Column("heartbeat", MOMENT),
        sa.UniqueConstraint("active", name="uq_runs_active"),
        sa.CheckConstraint("active = 1", "ck_runs_active"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_images",
        sa.Column("run_id", NUMBER, sa.ForeignKey("runs.id", name="fk_run_images_run_id")),
        sa.Column("position", sa.Integer),
        _text("upload_id"),
        _text("label"),
        _text("content_hash"),
        _text("image_key"),
        _text("lesion_id", nullable=True),
        _text("media_type"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_images"),
    )
    op.create_index("ix_run_images_upload_id_label", "run_images", ["upload_id", "label"])
    op.create_table(
        "rollouts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("active", sa.Integer),
        _text("kind"),
        sa.Column("run_id", NUMBER, sa.ForeignKey("runs.id", name="fk_rollouts_run_id")),
        _text("from_version"),
        _text("to_version"),
        _text("state"),
        _text("actor"),
        sa.Column("shadow", JSON),
        sa.Column("observation", JSON),
        sa.Column("autoscaling", JSON),
        _text("gate_hash", nullable=True),
        _text("reason", nullable=True),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
        sa.Column("finished", MOMENT),
        sa.UniqueConstraint("active", name="uq_rollouts_active"),
        sa.CheckConstraint("active = 1", "ck_rollouts_active"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
        *map(_text, ("time", "event", "actor", "details", "previous", "hash")),
    )
    dialect = op.get_bind().dialect.name
    for statement in APPEND_ONLY[dialect]:
        op.execute(statement)


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


# What is put in must follow the newest row: SQLite's INSERT OR REPLACE would change one
# without firing the triggers of UPDATE and DELETE.
APPEND_ONLY = {
    "sqlite": (
        """
        CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
        """,
        """
        CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
        """,
        """
        CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
        WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM audit)
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$
        """,
        """
        CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
        """,
    ),
}
