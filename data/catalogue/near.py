"""The search for the picture of a new upload among the earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.catalogue.tables import UploadRow

Near = Callable[[Sequence[tuple[str, bytes]]], str | None]
"""Remembers uploads by (id, perceptual hash); gives the id of the one nearest to the new picture,
among all that it remembers, or None."""

Forget = Callable[[str], object]
"""Makes an index name an upload no more."""


class NearSearch:
    """An index of pictures outside the database, kept in step with the uploads in it.

    The index is told of each upload once, and of a deleted one when it names it. Every call
    comes from a transaction without another writer beside it.
    """

    def __init__(self) -> None:
        self._seen = 0
        """Sequence number of the last upload that the index was told of."""

    def nearest(self, session: Session, near: Near, forget: Forget) -> UploadRow | None:
        """The upload that shows the picture which `near` looks for, or None."""
        unseen = session.execute(
            select(UploadRow.sequence, UploadRow.id, UploadRow.perceptual_hash)
            .where(UploadRow.sequence > self._seen)
            .order_by(UploadRow.sequence)
        ).all()
        found = near([(row.id, row.perceptual_hash) for row in unseen])
        if unseen:
            self._seen = unseen[-1].sequence
        forgotten = set()
        while found is not None and found not in forgotten:
            row = session.scalars(select(UploadRow).where(UploadRow.id == found)).one_or_none()
            if row is not None:
                return row
            forget(found)
            forgotten.add(found)
            found = near(())
        if found is not None:
            raise RuntimeError("near names an upload that it was told to forget")
        return None
