"""An upload: what one file says of itself and what becomes of it; the messages of the archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VerdictName = Literal["accepted", "needs_label", "duplicate", "test_image", "rejected"]

DEFAULT_SOURCE = "user"
"""Of a label that comes without one: whoever sent it."""


@dataclass(frozen=True, slots=True)
class Label:
    """What an image shows, according to its sender."""

    code: str | None = None
    """A class; None stands for an image that waits for its label."""
    source: str | None = None
    """How it was established; None without a label."""
    lesion_id: str | None = None
    """The sender's name of the lesion, the same for all its images."""


@dataclass(frozen=True, slots=True)
class NewImage:
    """One uploaded file on its way to the archive."""

    data: bytes
    """As it was sent."""
    label: Label
    uploader: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file."""

    verdict: VerdictName
    id: str | None = None
    """Of the upload that was stored."""
    duplicate_of: str | None = None
    """Id of the upload, or of the HAM10000 image, that shows the same picture."""
    reason: str | None = None
    """Why it was not stored."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The clean bytes of an upload."""

    data: bytes
    media_type: str
    name: str
    """Of a file: the hash of its content."""
