"""The archivist: what is refused before anything is stored, and what is left where it fails."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.uploads import Uploads
from data.duplicates import perceptual_hash
from data.frozen import Part
from data.ham10000 import LesionImage
from data.image_store import ImageStore
from data.known_images import KnownImages
from data.synthetic import synthetic_jpeg
from models.errors import MISTAKE, CatalogueUnavailable, NotFound
from models.limits import DEFAULT_LIMITS
from models.preprocessing import decode_image
from serve_app import archivist as module
from serve_app.archivist import Archivist, Taken
from serve_app.upload import Label, NewImage, Verdict

PICTURES = {
    part: synthetic_jpeg("nv", seed=seed, width=120, height=90)
    for seed, part in enumerate(("train", "validation", "test"), start=1)
}
NEW = NewImage(synthetic_jpeg("mel", seed=9, width=120, height=90), Label("mel", "user"))


def _known() -> KnownImages:
    """Three synthetic pictures in place of HAM10000's."""
    parts: dict[str, Part] = {"TRAIN": "train", "VALIDATION": "validation", "TEST": "test"}
    return KnownImages(
        rows=tuple(
            LesionImage(
                image_id=f"ISIC_{part}",
                lesion_id=part.upper(),
                diagnosis="nv",
                diagnosis_source="histo",
                path=Path(f"{part}.jpg"),
                sharp=True,
            )
            for part in PICTURES
        ),
        hashes=tuple(perceptual_hash(decode_image(image)) for image in PICTURES.values()),
        parts=parts,
    )


@pytest.fixture
def archivist(database: Database) -> Archivist:
    return Archivist(Uploads(database), ImageStore(), _known(), DEFAULT_LIMITS)


@pytest.fixture
def files(storage: Path) -> Path:
    return storage / "images"


def _enter(archivist: Archivist, image: NewImage) -> Verdict:
    taken = archivist.take(image)
    assert isinstance(taken, Taken)
    return archivist.catalogue(taken, None, "test")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_what_models_are_judged_by_is_no_upload(
    archivist: Archivist, files: Path, part: str
) -> None:
    for image in (NewImage(PICTURES[part], Label("nv", "user")), NewImage(PICTURES[part], Label())):
        verdict = archivist.take(image)
        assert isinstance(verdict, Verdict)
        assert verdict.verdict == "test_image"
        assert f"{part} image ISIC_{part}" in (verdict.reason or "")
    assert not files.exists()


def test_what_the_model_learned_from_is_a_duplicate(archivist: Archivist, files: Path) -> None:
    verdict = archivist.take(NewImage(PICTURES["train"], Label()))
    assert isinstance(verdict, Verdict)
    assert (verdict.verdict, verdict.duplicate_of) == ("duplicate", "ISIC_train")
    assert not files.exists()


def test_an_image_is_stored_before_it_is_catalogued(
    archivist: Archivist, database: Database
) -> None:
    taken = archivist.take(NEW)
    assert isinstance(taken, Taken)
    assert Uploads(database).page().total == 0
    assert hashlib.sha256(ImageStore().get(taken.new.image_key)).hexdigest() == (
        taken.new.content_hash
    )
    verdict = archivist.catalogue(taken, None, "test")
    assert verdict == Verdict("accepted", id=Uploads(database).page().items[0].id)


def test_a_removed_upload_is_no_duplicate_any_more(
    archivist: Archivist, database: Database
) -> None:
    other = Archivist(Uploads(database), ImageStore(), _known(), DEFAULT_LIMITS)
    first = _enter(archivist, NEW)
    assert _enter(other, NEW) == replace(_enter(archivist, NEW), duplicate_of=first.id)
    other.delete(first.id or "", "test")
    # The first archivist's index still has it, until the catalogue tells it better.
    second = _enter(archivist, NEW)
    assert second.verdict == "accepted"
    assert second.id != first.id
    assert archivist.image(second.id or "").name.endswith(".jpg")


def test_a_file_that_cannot_be_removed_is_left_over_and_said(
    archivist: Archivist, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(key: str) -> None:
        raise CatalogueUnavailable("The image store does not work.")

    verdict = _enter(archivist, NEW)
    monkeypatch.setattr(archivist._store, "delete", refuse)
    module.logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, logger="ray.serve"):
            archivist.delete(verdict.id or "", "test")
    finally:
        module.logger.removeHandler(caplog.handler)
    assert "is left over" in caplog.text
    with pytest.raises(NotFound):
        archivist.get(verdict.id or "")


def test_a_bug_of_the_decoder_fails_its_image_alone(
    archivist: Archivist, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("/home/somebody")

    monkeypatch.setattr(module, "examine", broken)
    assert archivist.take(NEW) == Verdict("rejected", reason=MISTAKE)
    assert not files.exists()
