"""Retention: which uploads are past their time, and which images an upload still needs."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from data.catalogue.database import Database, now
from data.catalogue.tables import UploadRow


def expired_uploads(database: Database, days: float, limit: int) -> tuple[str, ...]:
    """Ids of uploads that came more than so many days ago, the oldest first.

    Args:
        database: the catalogue.
        days: of 86,400 seconds.
        limit: most ids.

    Raises:
        CatalogueUnavailable: if the catalogue cannot be read.
    """
    with database.reading() as session:
        before = now(session) - timedelta(days=days)
        statement = select(UploadRow.id).where(UploadRow.created < before)
        return tuple(session.scalars(statement.order_by(UploadRow.sequence).limit(limit)))


def needed_images(database: Database) -> frozenset[str]:
    """Keys of all images that an upload has.

    Raises:
        CatalogueUnavailable: if the catalogue cannot be read.
    """
    with database.reading() as session:
        return frozenset(session.scalars(select(UploadRow.image_key)))
