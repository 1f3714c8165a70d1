"""The snapshot of a run: the uploads that it trains on, as they were labelled when it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from data.catalogue.tables import RunImageRow, UploadRow
from data.catalogue.upload import Upload
from data.catalogue.upload_counts import is_undecided


@dataclass(frozen=True)
class SnapshotImage:
    """An upload as a run trains on it."""

    upload_id: str
    label: str
    content_hash: str
    image_key: str
    lesion_id: str | None
    media_type: str
    present: bool
    """False if the upload was deleted since, and its image with it."""


_COLUMNS = (
    RunImageRow.upload_id,
    RunImageRow.label,
    RunImageRow.content_hash,
    RunImageRow.image_key,
    RunImageRow.lesion_id,
    RunImageRow.media_type,
)


def keep_snapshot(session: Session, run_id: int, uploads: Sequence[Upload]) -> tuple[int, int]:
    """Store those of some uploads that are still there with the label that they were read with.

    Returns:
        How many were stored, and how many of those no earlier run has come to a decision on.
    """
    statement = select(UploadRow.id, UploadRow.label).where(UploadRow.label.is_not(None))
    labels = {row.id: row.label for row in session.execute(statement)}
    new = set(session.scalars(select(UploadRow.id).where(is_undecided())))
    kept = [upload for upload in uploads if labels.get(upload.id, "") == upload.label]
    rows = [
        {
            "run_id": run_id,
            "position": position,
            "upload_id": upload.id,
            "label": upload.label,
            "content_hash": upload.content_hash,
            "image_key": upload.image_key,
            "lesion_id": upload.lesion_id,
            "media_type": upload.media_type,
        }
        for position, upload in enumerate(kept)
    ]
    if rows:
        session.execute(insert(RunImageRow), rows)
    return len(kept), sum(upload.id in new for upload in kept)


def read_snapshot(session: Session, run_id: int) -> tuple[SnapshotImage, ...]:
    """The stored snapshot, in its order; empty if there is none."""
    present = exists().where(UploadRow.id == RunImageRow.upload_id)
    statement = select(*_COLUMNS, present).where(RunImageRow.run_id == run_id)
    rows = session.execute(statement.order_by(RunImageRow.position))
    return tuple(SnapshotImage(*row) for row in rows)
