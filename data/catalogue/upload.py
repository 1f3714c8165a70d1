"""An uploaded image as the catalogue knows it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from data.catalogue.tables import UploadRow
from data.catalogue.values import checked_text
from models.classes import CLASSES
from models.errors import InvalidField, UnknownClass

LABEL_SOURCES = ("histopathology", "follow_up", "consensus", "expert", "user")
"""How a label may have been established."""

UploadStatus = Literal["labelled", "needs_label"]


@dataclass(frozen=True)
class Prediction:
    """What a model said of an image."""

    probabilities: dict[str, float]
    """By class code."""
    uncertainty: float
    """Entropy of the probabilities by its greatest value, ln 7: 0 to 1."""
    model_version: str

    def columns(self) -> dict[str, Any]:
        """The fields, as the columns of the table."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """A clean image that is to be catalogued."""

    content_hash: str
    """SHA-256 of the stored bytes, hex."""
    perceptual_hash: bytes
    """As `data.duplicates.perceptual_hash` gives it."""
    image_key: str
    """Of the image store."""
    media_type: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    size_bytes: int
    label: str | None = None
    """Class code, one of `CLASSES`."""
    label_source: str | None = None
    """One of `LABEL_SOURCES`; without a label there is none, and a given one is left out."""
    lesion_id: str | None = None
    """What the uploader calls the lesion: images of one lesion belong together."""
    uploader: str | None = None
    prediction: Prediction | None = None


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image in the catalogue; fields as in `NewUpload`."""

    id: str
    """32 hexadecimal digits, random."""
    content_hash: str
    perceptual_hash: bytes
    image_key: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    label: str | None
    label_source: str | None
    lesion_id: str | None
    uploader: str | None
    prediction: Prediction | None
    created: datetime
    """UTC."""
    updated: datetime
    """UTC; when label, source or lesion last changed."""

    @property
    def status(self) -> UploadStatus:
        """Whether it can be trained on or waits in the review queue."""
        return "needs_label" if self.label is None else "labelled"


_PLAIN_FIELDS = tuple(field.name for field in fields(Upload) if field.name != "prediction")


def upload_of(row: UploadRow) -> Upload:
    """A row of the table as an upload."""
    prediction = None
    if row.probabilities is not None:
        prediction = Prediction(row.probabilities, row.uncertainty or 0.0, row.model_version or "")
    values = {name: getattr(row, name) for name in _PLAIN_FIELDS}
    return Upload(**values, prediction=prediction)


def checked_label(label: str | None) -> str | None:
    """A label that a user gave.

    Raises:
        UnknownClass: if it is none of the seven classes.
    """
    if label is not None and label not in CLASSES:
        raise UnknownClass(f"{label[:64]!r} is no class. Send one of {', '.join(CLASSES)}.")
    return label


def checked_label_source(source: str | None) -> str | None:
    """A source of a label that a user gave.

    Raises:
        InvalidField: if it is none of `LABEL_SOURCES`.
    """
    if source is not None and source not in LABEL_SOURCES:
        raise InvalidField(
            f"{source[:64]!r} is no source of a label. Send one of {', '.join(LABEL_SOURCES)}."
        )
    return source


def checked(new: NewUpload) -> dict[str, Any]:
    """The columns of a new upload, but for its identity and its times.

    Raises:
        UnknownClass, InvalidField: as `checked_label`, `checked_label_source`, `checked_text`.
    """
    columns = {field.name: getattr(new, field.name) for field in fields(new)}
    del columns["prediction"]
    label, source = checked_label(new.label), checked_label_source(new.label_source)
    columns["label_source"] = None if label is None else source
    checked_text("lesion_id", new.lesion_id)
    checked_text("uploader", new.uploader)
    return columns | (new.prediction.columns() if new.prediction else {})
