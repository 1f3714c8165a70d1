"""What the uploads are like, counted."""

from __future__ import annotations

from data.catalogue.database import Database
from data.catalogue.upload_summary import ImageSize
from data.catalogue.uploads import Uploads
from models.classes import CLASSES
from tests.data.catalogue.examples import Adder, new_upload


def test_nothing_was_uploaded(database: Database) -> None:
    summary = Uploads(database).summary()
    assert summary.labelled == summary.new == dict.fromkeys(CLASSES, 0)
    assert (summary.needs_label, summary.by_source, summary.sizes) == (0, {}, ())


def test_uploads_are_counted(database: Database) -> None:
    adder = Adder(database)
    for number, (label, source, width) in enumerate(
        [("mel", "expert", 600), ("nv", "expert", 600), ("nv", "histopathology", 200)]
    ):
        adder.add(new_upload(number, label=label, label_source=source, width=width))
    adder.add(new_upload(9, label=None, width=200, height=150))
    summary = adder.uploads.summary()
    assert summary.labelled == dict.fromkeys(CLASSES, 0) | {"mel": 1, "nv": 2}
    assert summary.new == summary.labelled
    assert summary.needs_label == 1
    assert summary.by_source == {"expert": 2, "histopathology": 1}
    assert summary.sizes == (ImageSize(600, 450, 2), ImageSize(200, 150, 1), ImageSize(200, 450, 1))
