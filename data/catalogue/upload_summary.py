"""What the uploads are like, for plots."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from data.catalogue.database import Database
from data.catalogue.tables import UploadRow
from data.catalogue.upload_counts import count_uploads

SIZES_LISTED = 200


@dataclass(frozen=True)
class ImageSize:
    """Uploads of one size."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    images: int


@dataclass(frozen=True)
class UploadSummary:
    """Numbers of uploads."""

    labelled: dict[str, int]
    """By class code, all seven."""
    new: dict[str, int]
    """Of those, what no run has learned from."""
    needs_label: int
    by_source: dict[str, int]
    """Labelled ones, by how the label was established."""
    sizes: tuple[ImageSize, ...]
    """The most frequent first, `SIZES_LISTED` at most."""


def summarise_uploads(database: Database) -> UploadSummary:
    """Count the uploads of a catalogue by class, source and size.

    Raises:
        CatalogueUnavailable: as `Database.reading`.
    """
    images = func.count()
    sources = (
        select(UploadRow.label_source, images)
        .where(UploadRow.label_source.is_not(None))
        .group_by(UploadRow.label_source)
    )
    sizes = (
        select(UploadRow.width, UploadRow.height, images)
        .group_by(UploadRow.width, UploadRow.height)
        .order_by(images.desc(), UploadRow.width, UploadRow.height)
        .limit(SIZES_LISTED)
    )
    with database.reading() as session:
        counts = count_uploads(session)
        return UploadSummary(
            labelled=counts.labelled,
            new=counts.new,
            needs_label=counts.needs_label,
            by_source={str(source): count for source, count in session.execute(sources)},
            sizes=tuple(ImageSize(*row) for row in session.execute(sizes)),
        )
