"""Uploads for the catalogue's tests, and an archive in small that adds them."""

from __future__ import annotations

import hashlib
from typing import Any

from data.catalogue.database import Database
from data.catalogue.uploads import Added, NewUpload, Prediction, Upload, Uploads
from data.intake import NearIndex

PREDICTION = Prediction({"mel": 0.75, "nv": 0.25}, uncertainty=0.3, model_version="2")


def new_upload(number: int, **values: Any) -> NewUpload:
    """A picture of its own for each number."""
    content_hash = hashlib.sha256(b"content %d" % number).hexdigest()
    given: dict[str, Any] = {
        "content_hash": content_hash,
        "perceptual_hash": hashlib.sha256(b"picture %d" % number).digest(),
        "image_key": f"{content_hash[:2]}/{content_hash}.jpg",
        "media_type": "image/jpeg",
        "width": 600,
        "height": 450,
        "size_bytes": 12345,
        "label": "mel",
    }
    return NewUpload(**given | values)


def similar(picture: bytes, bits: int) -> bytes:
    """A perceptual hash that differs in the first so many bits."""
    mask = (1 << bits) - 1
    return (int.from_bytes(picture, "little") ^ mask).to_bytes(len(picture), "little")


class Adder:
    """Adds uploads as a replica does, with an index of its own."""

    def __init__(self, database: Database) -> None:
        self.uploads = Uploads(database)
        self.index = NearIndex()

    def add(self, new: NewUpload, **options: Any) -> Added:
        near = self.index.near([new.perceptual_hash])
        return self.uploads.add(new, "tester", near, forget=self.index.forget, **options)


def fill(database: Database, *labels: str | None) -> list[Upload]:
    """Add one upload of each label."""
    adder = Adder(database)
    return [
        adder.add(new_upload(number, label=label)).upload for number, label in enumerate(labels)
    ]
