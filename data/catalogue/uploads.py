"""The uploads of the catalogue: added once each, labelled, listed, and removed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from data.catalogue import audit
from data.catalogue.database import Database, now
from data.catalogue.near import Forget, Near, NearSearch
from data.catalogue.page import Page, read_page
from data.catalogue.tables import RolloutRow, RunImageRow, RunRow, UploadRow
from data.catalogue.unchanged import UNCHANGED, Unchanged, given
from data.catalogue.upload import (
    LABEL_SOURCES,
    NewUpload,
    Prediction,
    Upload,
    UploadStatus,
    checked,
    checked_label,
    checked_label_source,
    upload_of,
)
from data.catalogue.upload_counts import UploadCounts, count_uploads
from data.catalogue.upload_summary import UploadSummary, summarise_uploads
from data.catalogue.values import checked_text
from models.errors import InvalidField, NotFound

__all__ = [
    "LABEL_SOURCES",
    "UNCHANGED",
    "Added",
    "Deleted",
    "Near",
    "NewUpload",
    "Order",
    "Prediction",
    "TrainedModel",
    "Upload",
    "UploadCounts",
    "Uploads",
]

Order = Literal["newest", "oldest", "uncertainty"]
"""`uncertainty`: the most uncertain first, then those that no model has seen."""

_ID = re.compile(r"[0-9a-f]{32}")
_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "newest": (UploadRow.sequence.desc(),),
    "oldest": (UploadRow.sequence.asc(),),
    "uncertainty": (UploadRow.uncertainty.desc().nulls_last(), UploadRow.sequence.asc()),
}


@dataclass(frozen=True)
class Added:
    """What became of an upload."""

    upload: Upload
    """As it is in the catalogue: the new one, or the earlier one that it repeats."""
    duplicate_of: str | None
    """Id of the earlier upload; None if the new one was added."""
    exact: bool
    """Whether the earlier one has the same bytes, not only the same picture."""


@dataclass(frozen=True)
class TrainedModel:
    """A model that learned from an upload."""

    version: str
    promoted: bool
    """Whether it became the champion, then or later undone."""


@dataclass(frozen=True)
class Deleted:
    """An upload that is no more."""

    upload: Upload
    models: tuple[TrainedModel, ...]
    """The models that learned from it, the oldest first; a run that is under way counts."""


class Uploads:
    """The uploads of a catalogue; safe between threads, and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pictures = NearSearch()

    def add(
        self,
        new: NewUpload,
        actor: str,
        near: Near,
        *,
        forget: Forget,
        keep: Callable[[], object] | None = None,
    ) -> Added:
        """Catalogue an image, unless its bytes or its picture are there already.

        All of it is one transaction, beside which no other process writes: two that are sent
        the same picture at once cannot both take it.

        Args:
            new: the image.
            actor: who or what adds it, for the audit log.
            near: looks for the picture among the earlier ones. It gets those that this object
                has not passed to it before, in any thread; so one object needs one index.
            forget: tells the index of `near` that an upload was deleted, perhaps by another
                process; `near` must not name it again.
            keep: called before the image is catalogued and after it was found to be new. It
                stores the image if it is not stored: a deletion of an equal image may just
                have removed it.

        Raises:
            UnknownClass, InvalidField: if the label, its source, the lesion or the uploader
                cannot be stored.
            CatalogueUnavailable, StorageFull: as `Database.writing`.
        """
        columns = checked(new)
        with self._database.writing() as session:
            same = session.scalars(
                select(UploadRow).where(UploadRow.content_hash == new.content_hash)
            ).one_or_none()
            earlier = same or self._pictures.nearest(session, near, forget)
            if earlier is not None:
                return Added(upload_of(earlier), earlier.id, exact=same is not None)
            if keep is not None:
                keep()
            moment = now(session)
            row = UploadRow(id=uuid.uuid4().hex, **columns, created=moment, updated=moment)
            session.add(row)
            session.flush()
            audit.append(session, "upload.added", actor, _audited(row))
            return Added(upload_of(row), None, exact=False)

    def get(self, upload_id: str) -> Upload:
        """One upload.

        Raises:
            NotFound: if there is none of that id.
        """
        with self._database.reading() as session:
            return upload_of(_row(session, upload_id))

    def page(
        self,
        *,
        status: UploadStatus | None = None,
        label: str | None = None,
        label_source: str | None = None,
        uploader: str | None = None,
        lesion_id: str | None = None,
        order: Order = "newest",
        limit: int = 50,
        offset: int = 0,
    ) -> Page[Upload]:
        """Uploads that match all filters that are given.

        Raises:
            UnknownClass, InvalidField: if a filter, the order, limit or offset cannot be.
        """
        if order not in _ORDERS:
            raise InvalidField(f"order must be one of {', '.join(_ORDERS)}.")
        if status not in (None, "labelled", "needs_label"):
            raise InvalidField("status must be labelled or needs_label.")
        statement = select(UploadRow).order_by(*_ORDERS[order])
        if status is not None:
            unlabelled = UploadRow.label.is_(None)
            statement = statement.where(unlabelled if status == "needs_label" else ~unlabelled)
        for column, value in (
            (UploadRow.label, checked_label(label)),
            (UploadRow.label_source, checked_label_source(label_source)),
            (UploadRow.uploader, checked_text("uploader", uploader)),
            (UploadRow.lesion_id, checked_text("lesion_id", lesion_id)),
        ):
            if value is not None:
                statement = statement.where(column == value)
        with self._database.reading() as session:
            return read_page(session, statement, limit, offset, upload_of)

    def change(
        self,
        upload_id: str,
        *,
        actor: str,
        label: str | Unchanged | None = UNCHANGED,
        label_source: str | Unchanged | None = UNCHANGED,
        lesion_id: str | Unchanged | None = UNCHANGED,
    ) -> Upload:
        """Label an upload, or correct what is known of it; None removes a value.

        A new label loses the old one's source, unless a source is given with it.

        Raises:
            NotFound: if there is no such upload.
            UnknownClass, InvalidField: as `add`; also if a source is given without a label.
        """
        values = given(label=label, label_source=label_source, lesion_id=lesion_id)
        checked_label(values.get("label"))
        checked_label_source(values.get("label_source"))
        checked_text("lesion_id", values.get("lesion_id"))
        with self._database.writing() as session:
            row = _row(session, upload_id)
            if values.get("label", row.label) != row.label:
                values.setdefault("label_source", None)
            if values.get("label", row.label) is None and values.get("label_source"):
                raise InvalidField("An upload without a label has no label_source. Send a label.")
            old = {name: getattr(row, name) for name in values}
            changed = {name: value for name, value in values.items() if value != old[name]}
            if changed:
                for name, value in changed.items():
                    setattr(row, name, value)
                row.updated = now(session)
                before = {name: old[name] for name in changed}
                details = {"upload": row.id, "old": before, "new": changed}
                audit.append(session, "upload.changed", actor, details)
            return upload_of(row)

    def delete(self, upload_id: str, actor: str) -> Deleted:
        """Remove an upload; its image is the caller's to remove, with `release`.

        Raises:
            NotFound: if there is no such upload.
        """
        with self._database.writing() as session:
            row = _row(session, upload_id)
            models = _trained_models(session, upload_id)
            session.delete(row)
            versions = [model.version for model in models]
            audit.append(session, "upload.deleted", actor, _audited(row) | {"models": versions})
            return Deleted(upload_of(row), models)

    def release(self, image_key: str, remove: Callable[[], object]) -> bool:
        """Call `remove` if no upload needs an image, while none can be added that does.

        Args:
            image_key: of the image store.
            remove: removes it there.

        Returns:
            Whether it was called.
        """
        with self._database.writing() as session:
            needed = session.scalar(select(exists().where(UploadRow.image_key == image_key)))
            if not needed:
                remove()
            return not needed

    def trainable(self) -> tuple[Upload, ...]:
        """The labelled uploads, the oldest first."""
        statement = select(UploadRow).where(UploadRow.label.is_not(None))
        with self._database.reading() as session:
            return tuple(map(upload_of, session.scalars(statement.order_by(UploadRow.sequence))))

    def counts(self) -> UploadCounts:
        """How many uploads there are, by label, and how many no run has trained on."""
        with self._database.reading() as session:
            return count_uploads(session)

    def summary(self) -> UploadSummary:
        """What the uploads are like, for plots."""
        return summarise_uploads(self._database)


def _row(session: Session, upload_id: str) -> UploadRow:
    row = None
    if _ID.fullmatch(upload_id):
        row = session.scalars(select(UploadRow).where(UploadRow.id == upload_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no upload {upload_id[:64]!r}. GET /uploads lists those there are."
        )
    return row


def _trained_models(session: Session, upload_id: str) -> tuple[TrainedModel, ...]:
    """A run that ended without a decision has made no model."""
    # One that was rolled back since did become champion, and so did one that somebody forced.
    rolled_out = exists().where(
        RolloutRow.to_version == RunRow.challenger_version, RolloutRow.observation.is_not(None)
    )
    statement = (
        select(RunRow.challenger_version, or_(RunRow.state == "promoted", rolled_out))
        .where(exists().where(RunImageRow.run_id == RunRow.id, RunImageRow.upload_id == upload_id))
        .where(RunRow.active.is_not(None) | RunRow.decision.is_not(None))
        .order_by(RunRow.id)
    )
    return tuple(
        TrainedModel(version or "", promoted=promoted)
        for version, promoted in session.execute(statement)
    )


def _audited(row: UploadRow) -> dict[str, Any]:
    return {
        "upload": row.id,
        "content_hash": row.content_hash,
        "label": row.label,
        "label_source": row.label_source,
        "lesion_id": row.lesion_id,
    }
