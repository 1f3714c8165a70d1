"""How many uploads there are, and how many of them no run has trained on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import Session

from data.catalogue.tables import RunImageRow, RunRow, UploadRow
from models.classes import CLASSES


@dataclass(frozen=True)
class UploadCounts:
    """Numbers of uploads; each dict has every class code."""

    labelled: dict[str, int]
    needs_label: int
    new: dict[str, int]
    """Those that no run has trained on with the label they have now."""
    newest_change: datetime | None
    """When the last of the new ones was added or labelled, UTC; None if there is none."""


def is_new() -> ColumnElement[bool]:
    """Whether an upload has a label with which no run has trained on it."""
    trained = exists().where(
        RunImageRow.upload_id == UploadRow.id, RunImageRow.label == UploadRow.label
    )
    return and_(UploadRow.label.is_not(None), ~trained)


def is_undecided() -> ColumnElement[bool]:
    """Whether an upload has a label with which no run has come to a decision.

    A run that failed or was stopped has learned nothing that anybody knows of.
    """
    decided = exists().where(
        RunImageRow.upload_id == UploadRow.id,
        RunImageRow.label == UploadRow.label,
        RunRow.id == RunImageRow.run_id,
        RunRow.decision.is_not(None),
    )
    return and_(UploadRow.label.is_not(None), ~decided)


def count_uploads(session: Session) -> UploadCounts:
    """Count the uploads."""
    newest = session.scalar(select(func.max(UploadRow.updated)).where(is_new()))
    unlabelled = select(func.count()).where(UploadRow.label.is_(None))
    return UploadCounts(
        labelled=_by_label(session, UploadRow.label.is_not(None)),
        needs_label=session.scalar(unlabelled) or 0,
        new=_by_label(session, is_new()),
        newest_change=newest,
    )


def _by_label(session: Session, condition: ColumnElement[bool]) -> dict[str, int]:
    statement = select(UploadRow.label, func.count()).where(condition).group_by(UploadRow.label)
    counted = {label: count for label, count in session.execute(statement) if label is not None}
    return dict.fromkeys(CLASSES, 0) | counted
